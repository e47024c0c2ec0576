"""What a run's time was spent on: each second once, over all sessions, also after a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from helpers import studies
from helpers.limits import Clock, UpAt
from helpers.runs import configure
from physjax.errors import Interrupted
from physjax.records import RecordError, RunFolder, Spent
from physjax.records.ledger import KINDS, Session, goodput, sum_up
from physjax.report.study import report_study
from physjax.study.design import plan
from physjax.train.ledger import Stopwatch, describe
from physjax.train.loop import fit
from physjax.train.time_limit import TimeLimit

pytestmark = pytest.mark.quick_compile


def test_each_second_counts_once_and_the_innermost_gets_it() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 1
    with watch.on("steps"):
        clock.now += 10
        with watch.on("checkpoints"):
            clock.now += 2
            assert watch.seconds()["checkpoints"] == 2
        clock.now += 20
        with contextlib.suppress(KeyError), watch.on("evaluation"):
            clock.now += 5
            raise KeyError
    clock.now += 4
    found = watch.seconds()
    assert found == dict.fromkeys(KINDS, 0.0) | {
        "other": 5,
        "steps": 30,
        "checkpoints": 2,
        "evaluation": 5,
    }
    assert sum(found.values()) == clock.now - clock.start


def session(began: str, last: int, lost: int = 0, **seconds: float) -> Session:
    return Session(began, {k: float(v) for k, v in seconds.items()}, 0, last, lost)


def test_sessions_are_summed_up_over_machines_whose_clocks_disagree() -> None:
    sessions = [
        session("2026-01-01T12:00:00+00:00", 90, steps=60, compile=40),
        # Ten minutes after the end of the first, by a clock of another zone.
        session("2026-01-01T13:11:40+01:00", 200, lost=10, steps=100, data=20),
        # Before the end of the second: its clock is slow.
        session("2026-01-01T12:12:00+00:00", 300, lost=0, steps=80, waiting=20),
    ]
    spent = sum_up(sessions)
    seconds = {"steps": 240, "compile": 40, "data": 20, "waiting": 20}
    assert spent == Spent(dict.fromkeys(KINDS, 0.0) | seconds, 600, 2, 10)
    # 300 of 310 steps counted, and three quarters of the time went into steps.
    assert goodput(spent, 300) == pytest.approx(300 / 310 * 240 / 320)
    assert describe(spent, 300) == (
        "goodput 73% of 5m20s: steps 4m00s, compile 40s, data 20s, waiting 20s; 2 restarts, "
        "10 steps done twice, 10m00s between the sessions"
    )


def test_nothing_done_is_no_division_by_zero() -> None:
    nothing = Spent({}, 0, 0, 0)
    assert goodput(nothing, 0) == 0
    assert describe(nothing, 0) == "goodput 0% of 0s"


def test_a_runs_ledger_goes_on_from_session_to_session(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, limit = configure(tmp_path), TimeLimit(1e6)
    folder = RunFolder.of(config)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        fit(config, time_limit=limit, callbacks=[UpAt(limit, 13)])
    passed = time.monotonic() - began
    (first,) = folder.read_sessions()
    assert (first.first_step, first.last_step, first.lost_steps) == (0, 13, 0)
    # All of it is accounted for, but for what comes before the ledger and after it.
    assert 0.8 * passed < sum(first.seconds.values()) < passed
    assert all(first.seconds[kind] > 0 for kind in ("steps", "compile", "data", "checkpoints"))
    assert first.seconds["evaluation"] > 0
    assert first.seconds["waiting"] < 0.1
    # As after a kill: the process had come further than its last checkpoint.
    shutil.rmtree(folder.checkpoints / "13")
    record = fit(config)
    assert record.result is not None
    spent = record.result.spent
    assert spent is not None
    assert (spent.restarts, spent.lost_steps) == (1, 3)
    sessions = folder.read_sessions()
    assert sessions[0] == first
    assert (sessions[1].first_step, sessions[1].last_step) == (10, 20)
    assert spent == sum_up([first, dataclasses.replace(sessions[1], seconds=_rest(spent, first))])
    assert "goodput" in capsys.readouterr().out
    # It is there to read for who has the result alone, and not needed by who has not.
    path = folder.path / "result.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["spent"]
    path.write_text(json.dumps(values), encoding="utf-8")
    (folder.path / "ledger.json").unlink()
    old = fit(config)
    assert old.result == dataclasses.replace(record.result, spent=None)


def _rest(spent: Spent, first: Session) -> dict[str, float]:
    return {kind: spent.seconds[kind] - first.seconds[kind] for kind in KINDS}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sessions": [{"began": "today"}]}'])
def test_a_damaged_ledger_is_named_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=r"ledger\.json.*remove it, and what the earlier sess"):
        RunFolder(tmp_path).read_sessions()


def test_a_studys_table_of_runs_has_it_where_it_is_known(tmp_path: Path) -> None:
    study = studies.study(seeds=(0,))
    old, new = plan(study)
    folder = studies.write(tmp_path, study, {old.name: 0.5})
    report_study(tmp_path)
    assert "goodput" not in pd.read_csv(tmp_path / "runs.csv").columns
    spent = Spent({"steps": 6.0, "compile": 2.0}, 60.0, 1, 2)
    made = studies.record(study, new, 0.6, 0.5)
    assert made.result is not None
    folder.write(
        dataclasses.replace(made, result=dataclasses.replace(made.result, spent=spent, steps=10))
    )
    report_study(tmp_path)
    runs = pd.read_csv(tmp_path / "runs.csv").set_index("arm")
    assert runs.loc["ring", "goodput"] == pytest.approx(10 / 12 * 0.75)
    assert (runs.loc["ring", "restarts"], runs.loc["ring", "lost_steps"]) == (1, 2)
    assert runs.loc["none", ["goodput", "restarts", "lost_steps"]].isna().all()
