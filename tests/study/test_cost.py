"""Predicted costs, against arithmetic."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from helpers import studies
from physjax.config import Config
from physjax.records import RunFolder
from physjax.study.cost import CostModel, finished_runs
from physjax.study.design import Cell, plan

GRID = studies.study(models=("cnn", "alexnet"), datasets=("digits", "mnist"), seeds=(0, 1))


def config(
    model: str = "cnn", arm: str = "none", dataset: str = "digits", epochs: int = 2
) -> Config:
    found = plan(GRID)[Cell(model, arm, dataset, 0)]
    return dataclasses.replace(found, optim=dataclasses.replace(found.optim, epochs=epochs))


def test_nothing_is_predicted_from_nothing() -> None:
    assert CostModel([], studies.MACHINE).estimate(config()).seconds is None


def test_compiling_once_and_every_image_once_an_epoch() -> None:
    # 1 s to compile and 10 s for 2 epochs of 200 images.
    costs = CostModel([(config(), studies.result(0.5, 0.5))], studies.MACHINE)
    assert costs.estimate(config()).seconds == pytest.approx(11.0)
    assert costs.estimate(config(epochs=20)).seconds == pytest.approx(1 + 100)
    estimate = costs.estimate(config(arm="ring"))
    assert estimate.seconds == pytest.approx(11.0)
    assert estimate.basis == "from 1 run of this model with other laws"
    assert costs.estimate(config(dataset="mnist")).basis == "from 1 run of this model on other data"
    assert costs.estimate(config("alexnet")).seconds is None


def test_runs_more_like_it_count_alone_and_by_their_median() -> None:
    slow = studies.result(0.5, 0.5, wall_seconds=101.0)
    quick = studies.result(0.5, 0.5, wall_seconds=21.0)
    costs = CostModel([(config(arm="ring"), slow), (config(), quick)], studies.MACHINE)
    assert costs.estimate(config()).seconds == pytest.approx(21.0)
    costs.add(config(), studies.result(0.5, 0.5, wall_seconds=31.0))
    costs.add(config(), studies.result(0.5, 0.5, wall_seconds=901.0))
    assert costs.estimate(config()).seconds == pytest.approx(31.0)
    assert costs.estimate(config()).basis == "from 3 runs like it"


def test_another_machine_or_another_network_says_nothing() -> None:
    elsewhere = dataclasses.replace(studies.MACHINE, kind="a100")
    costs = CostModel([(config(), studies.result(0.5, 0.5))], elsewhere)
    assert costs.estimate(config()).seconds is None
    wide = dataclasses.replace(config(), model=dataclasses.replace(config().model, width=2.0))
    costs = CostModel([(wide, studies.result(0.5, 0.5))], studies.MACHINE)
    assert costs.estimate(config()).seconds is None


def test_earlier_runs_are_those_that_ended_in_studies_and_alone(tmp_path: Path) -> None:
    grid = studies.study()
    folder = studies.write(
        tmp_path / "results" / "s",
        grid,
        {"cnn-none-digits-seed0": 0.5, "cnn-ring-digits-seed0": None},
    )
    folder.record_file(Cell("cnn", "ring", "digits", 1)).write_text("damaged")
    ended = finished_runs(tmp_path / "results", tmp_path / "runs")
    assert [c.model.law for c, _ in ended] == ["none"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", b"{"),
        ("result.json", b'{"of another": "version"}'),
        ("config.json", b"\xff"),
        ("config.json", b'{"model": {"of another": "version"}}'),
        ("metrics.jsonl", b"[]\n"),
    ],
)
def test_a_newer_or_damaged_run_below_runs_predicts_nothing(
    tmp_path: Path, name: str, content: bytes
) -> None:
    for number in range(2):
        run = RunFolder(tmp_path / "runs" / f"run{number}")
        run.open(config())
        record = studies.record(GRID, Cell("cnn", "none", "digits", 0), 0.5, 0.5)
        for epoch in record.epochs:
            run.append_epoch(epoch)
        assert record.result is not None
        run.write_result(record.result)
    assert len(finished_runs(tmp_path / "results", tmp_path / "runs")) == 2
    (run.path / name).write_bytes(content)
    assert len(finished_runs(tmp_path / "results", tmp_path / "runs")) == 1


def test_a_result_without_what_is_needed_predicts_nothing() -> None:
    made = studies.result(0.5, 0.5)
    result = dataclasses.replace(made, data=dataclasses.replace(made.data, examples={}))
    assert CostModel([(config(), result)], studies.MACHINE).estimate(config()).seconds is None


def test_a_rule_that_settles_costs_what_its_own_runs_did() -> None:
    settling = config().replace(rule={"update_rule": "equilibrium-propagation"})
    costs = CostModel([(config(), studies.result(0.5, 0.5))], studies.MACHINE)
    assert costs.estimate(settling).seconds is None
    costs.add(settling, studies.result(0.5, 0.5, wall_seconds=81.0))
    assert costs.estimate(config()).seconds == pytest.approx(11.0)
    assert costs.estimate(settling.replace(rule={"beta": 0.1})).seconds == pytest.approx(81.0)
    assert costs.estimate(settling.replace(rule={"scheme": "random"})).seconds is None
