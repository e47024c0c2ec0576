"""Origins compared, and told in a line."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest

from physjax.records import provenance
from physjax.records.provenance import (
    Code,
    Images,
    Origin,
    OriginError,
    Session,
    changes,
    summarize,
)

HERE = Session(
    started="2026-11-25 08:00:00 +0000",
    host="alpha",
    pid=7,
    command="python experiments/run.py --data-dir /home/me/tfds --name=/x/y --seed 1",
    commit="a" * 40,
    dirty=False,
    versions={"physjax": "0.1.0", "jax": "0.10.2"},
    xla_flags="--xla_dump_to=/home/me/dump",
)
ORIGIN = Origin(
    code={"law ring": Code("mine", "1" * 64), "base cnn": Code("theirs", "2" * 64)},
    settings={"jax_enable_x64": False, "jax_default_matmul_precision": None},
    images=Images("digits", "f" * 64, "/home/me/tfds/digits/1.0.0"),
    sessions=(HERE,),
)


def other(**parts: Any) -> Origin:
    return dataclasses.replace(ORIGIN, **parts)


def with_session(**parts: Any) -> Origin:
    return other(sessions=(dataclasses.replace(HERE, **parts),))


def test_an_origin_comes_back_from_json() -> None:
    text = json.dumps(provenance.to_dict(ORIGIN), allow_nan=False)
    assert provenance.from_dict(json.loads(text)) == ORIGIN


def test_commit_version_host_and_command_may_differ() -> None:
    elsewhere = with_session(
        commit=None, dirty=None, host="beta", command="", versions={}, xla_flags=""
    )
    assert changes(ORIGIN, elsewhere) == []


def test_what_differs_is_named_with_both_sides_and_the_cheapest_way_out() -> None:
    now = with_session(commit="b" * 40, dirty=True)
    now = dataclasses.replace(
        now,
        code={**ORIGIN.code, "law ring": Code("mine", "3" * 64)},
        settings={"jax_enable_x64": True, "jax_default_matmul_precision": "float32"},
        images=Images("digits", "e" * 64, "elsewhere"),
    )
    with pytest.raises(OriginError) as refused:
        provenance.refuse(ORIGIN, now, "the run in r")
    text = str(refused.value)
    assert "the code of law ring (mine) was 111111111111 (commit aaaaaaaaaa) and is" in text
    assert "333333333333 (commit bbbbbbbbbb with changes)" in text
    assert "jax_enable_x64 was False and is True" in text
    assert "images of digits were ffffffffffff (/home/me/tfds/digits/1.0.0) and are eeee" in text
    assert "set JAX_ENABLE_X64=False" in text
    assert "unset JAX_DEFAULT_MATMUL_PRECISION" in text
    assert "--data-dir" in text
    assert "--fresh" in text
    assert "base cnn" not in text


def test_only_the_parts_asked_for_are_compared() -> None:
    now = other(code={"law ring": Code("mine", "3" * 64), "base cnn": Code("theirs", "4" * 64)})
    assert len(changes(ORIGIN, now)) == 2
    assert len(changes(ORIGIN, now, ("base",))) == 1


def test_a_setting_that_only_one_version_of_jax_has_is_no_difference() -> None:
    assert changes(ORIGIN, other(settings={**ORIGIN.settings, "jax_new": 1})) == []


def test_records_of_several_commits_stand_together_where_their_code_agrees() -> None:
    records = {"one": ORIGIN, "two": with_session(commit="b" * 40)}
    assert provenance.disagreement(records) == ""
    # Another law has another hash, and is not compared with this one.
    records["three"] = other(code={"law none": Code("mine", "4" * 64)})
    assert provenance.disagreement(records) == ""
    records["four"] = other(code={"law ring": Code("mine", "3" * 64)})
    assert provenance.disagreement(records) == (
        "the code of law ring was 111111111111 in one (commit aaaaaaaaaa) and 333333333333 in four "
        "(commit aaaaaaaaaa)"
    )


def test_the_summary_names_commits_versions_hosts_and_what_is_not_known() -> None:
    origins = [ORIGIN, ORIGIN, with_session(commit="b" * 40, dirty=True, host="beta"), None]
    assert summarize(SimpleNamespace(origin=o) for o in origins) == (
        "Made at commit aaaaaaaaaa (2 runs), bbbbbbbbbb with changes (1 run) with jax 0.10.2, "
        "physjax 0.1.0 on alpha, beta. The code of 1 of 4 runs was not recorded."
    )
    assert summarize([SimpleNamespace(origin=None)]) == ""


def test_folders_of_the_machine_do_not_go_into_a_record_that_is_committed() -> None:
    kept = provenance.strip_machine_paths(ORIGIN)
    assert "/home" not in json.dumps(provenance.to_dict(kept))
    assert kept.sessions[0].command == (
        "python experiments/run.py --data-dir tfds --name=y --seed 1"
    )
    assert changes(ORIGIN, kept) == []
