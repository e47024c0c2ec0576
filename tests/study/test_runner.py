"""A study that is run: what is missing is run, what is there is kept, whatever happens between."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from helpers import studies
from physjax import runtime
from physjax.config import ConfigError
from physjax.data import DataError
from physjax.errors import Interrupted
from physjax.files import Locked, exclusive_lock
from physjax.records import EpochRecord, RecordError, RunFolder
from physjax.report.study import report_study
from physjax.study import runner
from physjax.study.design import Cell, Study, plan
from physjax.study.files import pinned, to_toml
from physjax.study.folder import StudyFolder, StudyRecord
from physjax.study.paths import Paths
from physjax.study.progress import StudyDisplay
from physjax.study.runner import run_study
from physjax.study.status import changed_runs, format_eta, format_status, status, validate
from physjax.train.origin import current_origin
from physjax.train.state import init_state

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]


def grid(**changes: Any) -> Study:
    """The smallest network, with and without the ring, one seed, 3 steps an epoch."""
    config = {
        "model": {"width": 0.1},
        "data": {"train_examples": 60},
        "optim": {"batch_size": 20},
    }
    return studies.study(**{"seeds": (0,), "config": config, **changes})


def paths(folder: Path) -> Paths:
    return Paths(folder / "results", folder / "runs", devices=1)


def without_times(record: StudyRecord) -> tuple[EpochRecord, ...]:
    return tuple(dataclasses.replace(e, seconds=0.0, images_per_second=0.0) for e in record.epochs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Cell, StudyRecord]]:
    """An uninterrupted study of two runs."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_study("s", grid(), paths(folder))


def test_every_run_of_the_grid_is_run_and_recorded(
    whole: tuple[Path, dict[Cell, StudyRecord]],
) -> None:
    folder, records = whole
    assert list(records) == list(plan(grid()))
    assert StudyFolder(folder / "results" / "s").read(plan(grid())) == records
    for cell, record in records.items():
        assert record.result is not None
        run = RunFolder(folder / "runs" / "s" / cell.name).read()
        assert run.result == record.result
        assert run.epochs == record.epochs
        assert run.config.model.law == cell.arm
    assert not list((folder / "results").rglob("checkpoints"))
    size = sum(p.stat().st_size for p in (folder / "results").rglob("*.json"))
    assert size < 10_000 * len(records)


def test_a_setting_of_a_law_is_swept_checked_first_and_recorded_as_the_grid_names_it(
    tmp_path: Path,
) -> None:
    axes = {"law.length": [2, 4]}
    with pytest.raises(ConfigError, match=r"^law\.length is 0; it must be greater than 0"):
        validate(grid(laws=("none", "divisive"), axes={"law.length": [2, 0]}))
    with pytest.raises(ConfigError, match=r"law\.lenght is 2, .* did you mean 'length'"):
        validate(grid(laws=("none", "divisive"), axes={"law.lenght": [2, 4]}))
    swept = grid(laws=("none", "divisive"), axes=axes, config={})
    swept = dataclasses.replace(swept, config=grid().config | {"optim.epochs": 1})
    records = run_study("s", swept, paths(tmp_path))
    assert [record.config.law.own for record in records.values()] == [
        {},
        {"length": 2},
        {"length": 4},
    ]
    # The length at its default is the law as it is; the other computes something else.
    losses = [record.epochs[-1].train_loss for record in records.values()]
    assert len(set(losses)) == 3
    assert StudyFolder(tmp_path / "results" / "s").read(plan(swept)) == records
    run = RunFolder(tmp_path / "runs" / "s" / "cnn-divisive@length=2-digits-seed0")
    assert run.read_config().law.own == {}
    report_study(tmp_path / "results" / "s")
    assert "divisive@length=4" in (tmp_path / "results" / "s" / "tables.md").read_text()


def test_a_complete_study_runs_nothing(
    whole: tuple[Path, dict[Cell, StudyRecord]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, records = whole
    monkeypatch.setattr(runner, "fit", None)
    assert run_study("s", grid(), paths(folder)) == records


def test_a_study_goes_on_elsewhere_from_its_committed_records(
    whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another machine has the results folder and no runs; the grid grows by a seed."""
    folder, records = whole
    shutil.copytree(folder / "results", tmp_path / "results")
    more = run_study("s", grid(seeds=(0, 1)), paths(tmp_path))
    assert {cell: record for cell, record in more.items() if cell.seed == 0} == records
    assert len(more) == 4
    ran = {p.name for p in (tmp_path / "runs" / "s").iterdir() if p.is_dir()}
    assert ran == {"cnn-none-digits-seed1", "cnn-ring-digits-seed1"}
    assert "run 3 of 4: cnn-none-digits-seed1; about" in capsys.readouterr().out


def test_a_run_that_ended_just_before_the_kill_is_recorded_and_not_run_again(
    whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path
) -> None:
    folder, records = whole
    shutil.copytree(folder / "results", tmp_path / "results")
    shutil.copytree(folder / "runs", tmp_path / "runs")
    cell = Cell("cnn", "ring", "digits", 0)
    StudyFolder(tmp_path / "results" / "s").record_file(cell).unlink()
    before = (tmp_path / "runs" / "s" / cell.name / "result.json").stat().st_mtime_ns
    assert run_study("s", grid(), paths(tmp_path)) == records
    assert (tmp_path / "runs" / "s" / cell.name / "result.json").stat().st_mtime_ns == before


def unfinished(whole: Path, folder: Path) -> tuple[Paths, list[Cell], StudyFolder]:
    """A copy of the study, killed twice: before the last run's result, and before both records."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    cells, files = list(plan(grid())), StudyFolder(folder / "results" / "s")
    for cell in cells:
        files.record_file(cell).unlink()
    (folder / "runs" / "s" / cells[-1].name / "result.json").unlink()
    return paths(folder), cells, files


def test_one_process_at_a_time(whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path) -> None:
    where, _, files = unfinished(whole[0], tmp_path)
    for folder in (files.path, where.runs_dir / "s"):
        with (
            exclusive_lock(folder, "study"),
            pytest.raises(Locked, match=rf"the study in .* process {os.getpid()} on .*, since"),
        ):
            run_study("s", grid(), where)
    assert files.read(plan(grid())) == {}


def test_a_run_that_another_process_is_at_work_on_is_left_out_and_made_up_for(
    whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path
) -> None:
    where, (first, last), files = unfinished(whole[0], tmp_path)
    with (
        RunFolder(where.runs_dir / "s" / last.name).locked(),
        pytest.raises(Locked, match=f"other processes are at work on {last.name}; the same"),
    ):
        run_study("s", grid(), where)
    assert list(files.read(plan(grid()))) == [first]
    records = run_study("s", grid(), where)
    assert without_times(records[last]) == without_times(whole[1][last])


def test_a_signal_between_two_runs_stops_the_study(
    whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, (first, _), files = unfinished(whole[0], tmp_path)
    write = StudyFolder.write

    def and_kill(self: StudyFolder, record: StudyRecord) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        write(self, record)

    monkeypatch.setattr(StudyFolder, "write", and_kill)
    with pytest.raises(Interrupted, match=r"stopped by SIGUSR1 after 1 of 2 runs") as stop:
        run_study("s", grid(), where)
    assert stop.value.exit_code == 143
    assert list(files.read(plan(grid()))) == [first]


def test_a_run_that_diverges_is_recorded_as_failed_and_the_others_go_on(tmp_path: Path) -> None:
    mad = {"optim": {"learning_rate": 1e20, "warmup": 0.0}, "model": {"norm": "none"}}
    study = grid(laws=(), arms={"mad": mad, "plain": {}})
    records = run_study("s", study, paths(tmp_path))
    lost, ended = records.values()
    assert lost.result is None
    assert lost.failure is not None
    assert lost.failure.startswith("the loss is not finite at step")
    assert str(tmp_path) not in lost.failure
    assert ended.result is not None
    states = [p.state for p in status("s", study, paths(tmp_path))]
    assert states == ["failed", "done"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"models": ("cnn", "lenet")}, ConfigError, "there is no model 'lenet'; there are cnn"),
        (
            {"laws": ("none", "magnet")},
            ConfigError,
            "there is no force law 'magnet'; there are none",
        ),
        ({"datasets": ("digits", "imagenet")}, DataError, "no data set 'imagenet'; there are"),
        (
            {"arms": {"big": {"optim": {"batch_size": 2000}}}},
            ConfigError,
            "batch_size is 2000, but there are only 60",
        ),
        (
            {"laws": ("none",), "config": {"model": {"interaction_strength": 5.0}}},
            ConfigError,
            "interaction_strength",
        ),
        (
            {"arms": {"odd": {"rule": {"update_rule": "hebb"}}}},
            ConfigError,
            "no learning rule 'hebb'",
        ),
    ],
)
def test_what_cannot_be_run_is_named_before_anything_is(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_study("s", grid(**changes), paths(tmp_path))
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_another_grid_is_refused_and_nothing_changes(
    whole: tuple[Path, dict[Cell, StudyRecord]],
) -> None:
    folder, records = whole
    with pytest.raises(RecordError, match=r"another grid.*extend that grid, or choose another"):
        run_study("s", grid(laws=("none",)), paths(folder))
    assert StudyFolder(folder / "results" / "s").read_study() == pinned(grid())
    assert run_study("s", grid(), paths(folder)) == records


def test_other_images_of_the_same_name_are_refused_before_anything_is_run(tmp_path: Path) -> None:
    files = StudyFolder(tmp_path / "results" / "s")
    files.open(grid())
    files.write(studies.record(grid(), Cell("cnn", "none", "digits", 0), 0.5, 0.5))
    with pytest.raises(RecordError, match=r"the images of digits here .* are not those of the"):
        run_study("s", grid(), paths(tmp_path))
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_each_run_is_compared_with_the_origin_that_it_would_have_itself(
    whole: tuple[Path, dict[Cell, StudyRecord]],
) -> None:
    """Arms may differ in their optimiser alone, whose code is part of where a run comes from."""
    some = next(iter(whole[1].values()))
    runs = plan(grid(laws=("none",), arms={"adamw": {"optim": {"optimizer": "adamw"}}}))
    records = {
        cell: dataclasses.replace(some, origin=current_origin(config))
        for cell, config in runs.items()
    }
    assert len({config.optim.optimizer for config in runs.values()}) == 2
    assert changed_runs(runs, records) == {}
    assert list(changed_runs(runs, dict.fromkeys(runs, records[next(iter(runs))]))) == [*runs][1:]


def test_arms_of_a_seed_start_from_the_same_kernels() -> None:
    """What makes runs pairs, beside the batches that follow from the seed."""
    from physjax import data
    from physjax.train.setup import TrainSetup

    study = grid(arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}}, seeds=(0, 1))
    starts = {}
    for cell, config in plan(study).items():
        loaded = data.load(config.data)
        flat, _ = jax.tree_util.tree_flatten_with_path(
            init_state(TrainSetup(config, loaded.info, len(loaded.train))).params
        )
        starts[cell.arm, cell.seed] = {jax.tree_util.keystr(p): np.asarray(x) for p, x in flat}
    plain = starts["none", 0]
    for arm in ("ring", "scaled-bias"):
        assert plain.keys() <= starts[arm, 0].keys()
        for name, value in plain.items():
            np.testing.assert_array_equal(starts[arm, 0][name], value, err_msg=name)
    assert not np.array_equal(starts["none", 1]["['fc1']['kernel']"], plain["['fc1']['kernel']"])


def test_a_survey_lists_what_is_done_and_what_the_rest_will_cost(
    whole: tuple[Path, dict[Cell, StudyRecord]],
) -> None:
    folder, _ = whole
    planned = status("s", grid(seeds=(0, 1), models=("cnn", "alexnet")), paths(folder))
    states = {p.cell.name: p.state for p in planned}
    assert states["cnn-none-digits-seed0"] == "done"
    assert states["cnn-none-digits-seed1"] == "missing"
    lines = format_status(planned)
    assert "from 1 run like it" in next(line for line in lines if "cnn-ring-digits-seed1" in line)
    assert "?  no record" in next(line for line in lines if "alexnet-none-digits-seed0" in line)
    assert lines[-1].startswith("8 runs, 6 to do: about ")
    assert lines[-1].endswith("and 4 runs of unknown cost")


def test_a_run_that_has_begun_costs_only_what_is_left(
    whole: tuple[Path, dict[Cell, StudyRecord]], tmp_path: Path
) -> None:
    folder, _ = whole
    shutil.copytree(folder / "results", tmp_path / "results")
    study = grid(seeds=(0, 1))
    begun = Cell("cnn", "none", "digits", 1)
    run = RunFolder(tmp_path / "runs" / "s" / begun.name)
    run.path.mkdir(parents=True)
    run.append_epoch(studies.record(studies.study(), begun, 0.5, 0.5).epochs[0])
    by_cell = {p.cell: p for p in status("s", study, paths(tmp_path))}
    assert by_cell[begun].state == "begun"
    missing = by_cell[dataclasses.replace(begun, arm="ring")]
    assert missing.state == "missing"
    assert by_cell[begun].remaining.seconds is not None
    record = StudyFolder(tmp_path / "results" / "s").read(plan(study))[
        Cell("cnn", "none", "digits", 0)
    ]
    assert record.result is not None
    assert by_cell[begun].remaining.seconds == pytest.approx(record.result.wall_seconds / 2)


def test_totals() -> None:
    assert format_eta([]) == "about 0s"
    assert format_eta([None, None]) == "cost unknown"
    assert format_eta([60.0, 15.0]) == "about 1m15s"
    assert format_eta([60.0, None]) == "about 1m00s, and 1 runs of unknown cost"


def test_one_display_with_the_time_left_of_the_whole_study() -> None:
    """A run's own bar below the study's, on one terminal, and the study's forecast in it."""
    from physjax.train.progress import Display

    console = Console(force_terminal=True, width=160, record=True)
    with StudyDisplay("bases", 18, console) as display:
        display.begin("cnn-ring-digits-seed0", 4, [90.0, 3600.0])
        with Display("cnn-ring-digits-seed0", 100, display.console) as inner:
            inner.step(50, 123.0, 1.0, 0.5)
        display.end(5)
    text = console.export_text()
    assert "run 5 of 18: cnn-ring-digits-seed0; about 1h02m left" in text or "1h01m left" in text
    assert "5/18" in text
    assert "123 images/s" in text


def test_checking_reads_no_images(tmp_path: Path) -> None:
    """A listing of runs must not wait for a download."""
    runs = validate(grid(datasets=("cifar100",)))
    assert {c.data.dataset for c in runs.values()} == {"cifar100"}


def command(folder: Path, *words: str, name: str = "s") -> list[str]:
    return [
        *(sys.executable, str(ROOT / "experiments" / "study.py"), "--name", name),
        *("--results-dir", str(folder / "results"), "--runs-dir", str(folder / "runs")),
        *("--devices", "1", *words),
    ]


def test_the_command_reads_a_file_lists_its_runs_and_refuses_two_grids(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(to_toml(grid()))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(tmp_path, *words), capture_output=True, text=True, check=False
        )

    for name in ("../../evil", "a/b", "..", "lr[0.1]"):
        words = command(tmp_path, "--grid", str(path), "--dry-run", name=name)
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert f"--name is '{name}'; it must" in refused.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["g.toml"]
    listed = run("--grid", str(path), "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[-1] == "2 runs, 2 to do: cost unknown"
    assert not (tmp_path / "results").exists()
    both = run("--grid", str(path), "--models", "cnn")
    assert both.returncode == 2
    assert "leave out one of them" in both.stderr
    none = run()
    assert none.returncode == 2
    assert "holds no study" in none.stderr


LONG = {"optim": {"epochs": 6, "batch_size": 20}, "run": {"checkpoint_minutes": 1e-4}}


def long() -> Study:
    """Three runs of many short epochs, so that a kill finds one in its middle."""
    config: dict[str, Any] = {**grid().config, **LONG}
    return grid(config=config, arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}})


@pytest.mark.exhaustive
def test_a_study_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice(
    tmp_path: Path,
) -> None:
    """SIGKILL right after the first record, and in the last run."""
    study = long()
    reference = run_study("s", study, paths(tmp_path / "whole"))
    (tmp_path / "g.toml").write_text(to_toml(study))
    first, second, third = plan(study)
    runs, folder = tmp_path / "runs" / "s", StudyFolder(tmp_path / "results" / "s")

    def lines(cell: Cell) -> int:
        metrics = runs / cell.name / "metrics.jsonl"
        return metrics.read_text().count("\n") if metrics.exists() else 0

    moments = [
        lambda: folder.record_file(first).exists(),
        lambda: lines(third) >= 2,
    ]
    stamps: dict[Cell, int] = {}
    for reached in moments:
        process = subprocess.Popen(
            command(tmp_path, "--grid", str(tmp_path / "g.toml")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # With malloc's settings there from the start the command does not start itself again.
            env={**os.environ, **runtime.environment(), "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        while not reached():
            if process.poll() is not None:
                pytest.fail(f"the study ended by itself:\n{process.stdout.read()}")
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        # A record that is there is whole, and those of earlier sessions were not written again.
        for cell in folder.read(plan(study)):
            stamp = folder.record_file(cell).stat().st_mtime_ns
            assert stamps.setdefault(cell, stamp) == stamp
    assert set(stamps) == {first, second}
    assert lines(third) < 6

    finished = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "study s: 3 runs, 2 of them done" in finished.stdout
    assert f"run 3 of 3: {third.name}" in finished.stdout
    assert "resumed" in finished.stdout
    records = folder.read(plan(study))
    assert list(records) == list(plan(study))
    for cell, record in records.items():
        assert without_times(record) == without_times(reference[cell]), cell
    for cell, stamp in stamps.items():
        assert folder.record_file(cell).stat().st_mtime_ns == stamp
    assert (tmp_path / "results" / "s" / "tables.md").exists()
