"""Whatever comes in by command line, TOML, JSON or a setting is taken or refused in words.

Seeded: the same inputs every time. None of them may end in another exception than UserError, or an
end of the process with exit code 0 or 2.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import studies
from physjax import schema
from physjax.cli import common, options
from physjax.cli import evaluate as evaluate_command
from physjax.cli import study as study_command
from physjax.config import RECIPES, SETTINGS, Config, from_dict, parse_settings, run_name, to_dict
from physjax.errors import UserError
from physjax.records import EpochRecord, RecordError, Result, RunFolder
from physjax.study.design import plan
from physjax.study.files import read_toml, to_toml
from physjax.study.folder import StudyFolder, read_record


def fuzz(examples: int) -> Callable[[Any], Any]:
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
    )


def refused_in_words(job: Callable[[], Any]) -> None:
    """Do `job`; it may only end well, or as a user is to be told that it cannot be done."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            job()
            return
        except UserError as error:
            said = str(error)
        except SystemExit as end:
            said = {0: "help", 2: "no such option"}[end.code]  # type: ignore[index]
    assert 0 < len(said) < 2500


NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, True, 10**400, 10**4000, 2**64, 1e308, 1e23, -0.0, 5e-324]),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(), max_size=5),
    st.sampled_from(
        [
            *("", ".", "..", "../../evil", "/", "a/b", "lr[0.1]", "a\\b", "*", "\0", "\ud800", "ü"),
            *("x" * 300, "None", "nan", "inf", "1e308", "1e23", "9" * 5000, "{}", "[" * 2000),
            *("2020-01-01", "physics", "ring", "digits", "-", "--", "--help", "=", "a=b"),
        ]
    ),
)
ANY = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from(list(SETTINGS))
KEYS = st.one_of(FIELDS, st.sampled_from(["law.length", "rule.gamma", "law.own", "rule.a b"]))
FLAGS = st.one_of(
    FIELDS.map(lambda key: f"--{options.flag(key)}"),
    KEYS.map(lambda key: f"--{key}"),
    st.sampled_from(["--set", "--recipe", "--dry-run", "--no-nesterov", "--figure-format", "-h"]),
    TEXTS,
)


def shown(value: Any) -> str:
    return value if isinstance(value, str) else schema.show(value)


@fuzz(50)
@given(st.lists(st.tuples(FLAGS, st.one_of(NUMBERS, TEXTS)), max_size=3), st.booleans())
def test_command_lines_of_runs(words: list[tuple[str, Any]], joined: bool) -> None:
    line = [part for word, value in words for part in (word, shown(value))]
    if joined:
        line = [f"{word}={shown(value)}" for word, value in words]
    refused_in_words(lambda: common.parse(line))


STUDY = st.sampled_from(
    ["--name", "--models", "--laws", "--seeds", "--recipe", "--bias-scale", "--set", "--grid"]
)


@fuzz(60)
@given(st.lists(st.tuples(STUDY, st.one_of(NUMBERS, TEXTS)), max_size=4))
def test_command_lines_of_studies_and_evaluations(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, Any]]
) -> None:
    line = [part for word, value in words for part in (word, shown(value))]
    folder = StudyFolder(tmp_path_factory.getbasetemp() / "no-study")

    def job() -> None:
        asked = options.parse(study_command.Command, line)
        options.folder_name(asked.name or "s", "--name")
        study_command.find_grid(asked, folder)

    refused_in_words(job)
    refused_in_words(lambda: options.parse(evaluate_command.Command, line[1:]))


@fuzz(250)
@given(KEYS, st.one_of(NUMBERS, TEXTS), st.one_of(KEYS, TEXTS), st.one_of(NUMBERS, TEXTS))
def test_settings(key: str, value: Any, other: str, text: Any) -> None:
    refused_in_words(lambda: parse_settings([f"{key}={shown(value)}", f"{other}={shown(text)}"]))
    refused_in_words(lambda: Config().set(other, value))

    def named() -> None:
        config = Config().set(key, value)
        # What is taken can be written, read back, and named.
        assert from_dict(json.loads(json.dumps(to_dict(config), allow_nan=False))) == config
        assert len(run_name(config).encode()) <= 255

    refused_in_words(named)


GOOD = {
    "models": ["cnn"],
    "laws": ["none", "ring"],
    "datasets": ["digits"],
    "seeds": 2,
    "recipe": "smoke",
    "config": {"optim": {"epochs": 3}},
    "by_model": {"cnn": {"model": {"width": 0.5}}},
    "arms": {"scaled-bias": {"optim": {"bias_scale": 3.0}}},
    "axes": {"optim.momentum": [0.8, 0.9], "law.length": [1, 2.5]},
}


def put(values: Any, path: list[int], new: Any) -> Any:
    """`values` with one of its parts replaced, chosen by `path`."""
    if isinstance(values, dict) and values and path:
        key = list(values)[path[0] % len(values)]
        return {**values, key: put(values[key], path[1:], new)}
    if isinstance(values, list) and values and path:
        at = path[0] % len(values)
        return [*values[:at], put(values[at], path[1:], new), *values[at + 1 :]]
    return new


PATHS = st.lists(st.integers(0, 30), max_size=4)


@fuzz(250)
@given(PATHS, ANY, TEXTS)
def test_studies_in_toml(
    tmp_path_factory: pytest.TempPathFactory, path: list[int], new: Any, name: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    for values in (put(GOOD, path, new), {**GOOD, name: new}):
        try:
            text = tomli_w.dumps(values).encode()
        except (TypeError, ValueError, AttributeError):
            continue  # Not TOML's: None, a surrogate, too many digits, or no table.
        file.write_bytes(text)

        def job() -> None:
            study = read_toml(file)
            again = file.with_name("again.toml")
            again.write_text(to_toml(study), encoding="utf-8")
            assert plan(read_toml(again)) == plan(study)

        refused_in_words(job)


@fuzz(100)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_bytes_in_place_of_toml_and_json(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int
) -> None:
    base = tmp_path_factory.getbasetemp()
    sound = tomli_w.dumps(GOOD).encode()
    (base / "bytes.toml").write_bytes(sound[:at] + data + sound[at + 1 :])
    refused_in_words(lambda: read_toml(base / "bytes.toml"))
    sound = json.dumps(to_dict(Config())).encode()
    (base / "config.json").write_bytes(sound[:at] + data + sound[at + 1 :])
    refused_in_words(lambda: RunFolder(base).read_config())


@fuzz(120)
@given(PATHS, ANY)
def test_records_in_json(
    tmp_path_factory: pytest.TempPathFactory, path: list[int], new: Any
) -> None:
    base = tmp_path_factory.getbasetemp() / "records"
    folder = RunFolder(base)
    folder.path.mkdir(exist_ok=True)
    planned = studies.study()
    record = studies.record(planned, next(iter(plan(planned))), 0.5, 0.5)
    assert record.result is not None
    plain = json.loads(json.dumps(dataclasses.asdict(record.result)))
    line = json.loads(json.dumps(dataclasses.asdict(record.epochs[0])))
    whole = {
        "cell": {"model": "cnn", "arm": "none", "dataset": "digits", "seed": 0},
        "config": to_dict(RECIPES["smoke"]),
        "epochs": [line],
        "result": plain,
        "failure": None,
    }

    def write(name: str, values: Any) -> Path | None:
        try:
            text = json.dumps(put(values, path, new))
        except ValueError:
            return None  # More digits than Python writes.
        (base / name).write_text(text, encoding="utf-8", errors="surrogatepass")
        return base / name

    if write("config.json", whole["config"]):
        refused_in_words(folder.read_config)
    if write("result.json", plain):
        refused_in_words(folder.read_result)
    if write("record.json", whole):
        refused_in_words(lambda: read_record(base / "record.json"))
    changed = write("metrics.jsonl", line)
    if changed:
        text = changed.read_text(encoding="utf-8", errors="surrogatepass")
        refused_in_words(lambda: schema.read_json(EpochRecord, text, "metrics.jsonl line 3"))


def test_a_wrong_record_is_named_by_file_and_field() -> None:
    with pytest.raises(RecordError, match=r"^metrics\.jsonl line 3: .*train_loss is 'x'; .*number"):
        schema.read(EpochRecord, {"train_loss": "x"}, "metrics.jsonl line 3", RecordError)
    with pytest.raises(RecordError, match=r"^result\.json: .*data is 3; it must be a table"):
        schema.read(Result, {"data": 3}, "result.json", RecordError)
    with pytest.raises(RecordError, match=r"'epoch' is given twice"):
        schema.read_json(EpochRecord, '{"epoch": 1, "epoch": 2}', "line 1", RecordError)
    with pytest.raises(RecordError, match="NaN is no number of JSON"):
        schema.read_json(EpochRecord, '{"train_loss": NaN}', "line 1", RecordError)
