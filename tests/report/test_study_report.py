"""Tables and figures of a study, from records that were written by hand."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

import studies
from physjax.grid import Cell, plan
from physjax.records import RecordError
from physjax.report import study as report
from physjax.report.comparison import arms, comparisons
from physjax.report.tables import accuracy_table, difference_table
from physjax.study_records import StudyFolder

RUNS = {
    "cnn-none-digits-seed0": 0.50,
    "cnn-ring-digits-seed0": 0.53,
    "cnn-none-digits-seed1": 0.60,
    "cnn-ring-digits-seed1": 0.61,
    "cnn-none-digits-seed2": 0.70,
    "cnn-ring-digits-seed2": 0.72,
}


def test_tables_and_figures_of_a_study(tmp_path: Path) -> None:
    studies.write(tmp_path / "s", studies.study(), RUNS)
    written = report.draw(tmp_path / "s")
    assert {p.name for p in written} == {
        *("tables.md", "accuracy.csv", "differences.csv", "runs.csv"),
        *("accuracy_digits.png", "curves_cnn_digits.png", "differences.png"),
    }
    assert all(p.stat().st_size > 100 for p in written)
    text = (tmp_path / "s" / "tables.md").read_text()
    assert "6 of 6 runs" in text
    plain = "| Digits | cnn | none | 3 | 70.00 ± 10.00 | 80.00 | 60.00 ± 10.00 | 70.00 | – | – |"
    assert plain in text
    # Differences 3, 1 and 2 points: 2 ± 1, t(0.975, 2) = 4.3027, over sqrt(3): ± 2.484.
    assert "| Digits | cnn | ring − none | 3 | +2.00 ± 1.00 | −0.48 … +4.48 |" in text
    assert "| +3.33 % | – |" in text
    with (tmp_path / "s" / "differences.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["difference"]) == pytest.approx(0.02)
    assert float(line["t_low"]) == pytest.approx(0.02 - 4.302653 * 0.01 / 3**0.5)
    assert line["paper_difference"] == ""
    with (tmp_path / "s" / "runs.csv").open() as file:
        assert [float(r["test_accuracy"]) for r in csv.DictReader(file)] == [
            *(0.50, 0.60, 0.70),
            *(0.53, 0.61, 0.72),
        ]


def test_only_whole_pairs_are_compared(tmp_path: Path) -> None:
    """Seed 1 has no plain run, seed 2 none that ended well."""
    runs: dict[str, float | None] = {**RUNS, "cnn-none-digits-seed2": None}
    del runs["cnn-none-digits-seed1"]
    folder = studies.write(tmp_path / "s", studies.study(), runs)
    found = arms(folder.read(plan(studies.study())).values())
    (pair,) = comparisons(found)
    assert pair.seeds == (0,)
    assert pair.difference.mean == pytest.approx(0.03)
    assert found[0].failed == 1
    assert accuracy_table(found).rows[0][3] == "1 (1 failed)"
    report.draw(tmp_path / "s")
    assert "5 of 6 runs" in (tmp_path / "s" / "tables.md").read_text()


def test_an_arm_that_failed_with_every_seed_has_a_line_and_no_figures(tmp_path: Path) -> None:
    runs = {name: (None if "ring" in name else value) for name, value in RUNS.items()}
    studies.write(tmp_path / "s", studies.study(), runs)
    written = {p.name for p in report.draw(tmp_path / "s")}
    assert "differences.csv" not in written
    text = (tmp_path / "s" / "tables.md").read_text()
    assert "| digits | cnn | ring | 0 (3 failed) | – | – | – | – | – | – |" in text


def test_the_papers_figures_stand_beside_cifar10_alone() -> None:
    planned = studies.study(models=("alexnet", "cnn"), datasets=("cifar10", "digits"), seeds=(0,))
    records = [studies.record(planned, cell, 0.9, 0.8) for cell in plan(planned)]
    found = arms(records)
    table = accuracy_table(found)
    theirs = {row[1:3]: row[-2:] for row, arm in zip(table.rows, found, strict=True) if arm.paper}
    assert theirs == {
        ("alexnet", "none"): ("63.72 / 66.03", "70.24 / 78.39"),
        ("alexnet", "ring"): ("77.83 / 79.12", "87.25 / 88.64"),
        ("cnn", "none"): ("57.12 / 65.05", "68.88 / 70.02"),
    }
    assert all(arm.dataset == "cifar10" for arm in found if arm.paper)
    rows = {row[1:3]: row[-1] for row in difference_table(comparisons(found)[:2]).rows}
    assert rows == {
        ("alexnet", "ring − none"): "+17.01, +24.22 %",
        ("cnn", "ring − none"): "–",
    }


def test_other_arms_are_compared_with_the_plain_one_too() -> None:
    planned = studies.study(arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}}, seeds=(0, 1))
    found = arms(studies.record(planned, cell, 0.9, 0.8) for cell in plan(planned))
    assert [p.treatment.arm for p in comparisons(found)] == ["ring", "scaled-bias"]


def test_figures_hold_the_runs_and_the_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is plotted is what was recorded."""
    import matplotlib.pyplot as plt

    shown = {}
    close = plt.close

    def keep(drawing: plt.Figure) -> None:
        axes = drawing.axes[0]
        shown[axes.get_title() or axes.get_ylabel()] = [
            (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines
        ]
        close(drawing)

    monkeypatch.setattr(plt, "close", keep)
    studies.write(tmp_path / "s", studies.study(), RUNS)
    report.draw(tmp_path / "s")
    accuracy = shown["Digits: mean ± sd over seeds"]
    assert accuracy[0][1] == [0.5, 0.6, 0.7]
    (differences,) = (lines for title, lines in shown.items() if "paired" in title)
    assert differences[0][0] == pytest.approx([3, 1, 2])
    assert differences[1][0] == pytest.approx([2])
    assert differences[2][0] == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-4)
    curves = shown["test accuracy"]
    assert curves[0] == ([1, 2], pytest.approx([0.3, 0.6]))


def test_a_study_without_records_or_without_a_grid_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds no study: there is no study\.toml"):
        report.draw(tmp_path)
    StudyFolder(tmp_path / "s").open(studies.study())
    with pytest.raises(RecordError, match=r"no run of the study in .* has ended yet"):
        report.draw(tmp_path / "s")


def test_runs_on_different_images_are_not_compared(tmp_path: Path) -> None:
    planned = studies.study()
    folder = studies.write(tmp_path / "s", planned, RUNS)
    cell = Cell("cnn", "ring", "digits", 1)
    made = studies.record(planned, cell, 0.5, 0.5)
    assert made.result is not None
    other = dataclasses.replace(made.result, data={**made.result.data, "fingerprint": "0" * 64})
    folder.write(dataclasses.replace(made, result=other))
    with pytest.raises(RecordError, match="saw different images of digits"):
        report.draw(tmp_path / "s")
