"""The paper's tables with our accuracies: every number comes out of records, by the command."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from helpers import studies
from physjax.config import RECIPES
from physjax.report.comparison import arm_frame, difference_frame
from physjax.report.frames import judged, study_frames
from physjax.report.paper import TABLES, has_the_papers_images, paper_frame, published
from physjax.study.design import Cell, Study, plan
from physjax.study.folder import StudyFolder, StudyRecord

ROOT = Path(__file__).resolve().parents[2]
TITLE = "CIFAR-10 (JPEG-75 copy)"


def grid(**changes: Any) -> Study:
    """The paper's three networks and the control arm, three seeds."""
    values: dict[str, Any] = {
        "models": ("cnn", "alexnet"),
        "laws": ("none", "ring"),
        "datasets": ("cifar10",),
        "recipe": "fast",
        "arms": {"scaled-bias": {"optim": {"bias_scale": 16.7}}},
        "tta": "mirror+shift",
    }
    return studies.study(**{**values, **changes})


def accuracy(cell: Cell, more: float = 0.0) -> float:
    """One of its own for every run, and another one for every `more`."""
    mean, slope = {"none": (0.7, 1), "ring": (0.72, 2.3), "scaled-bias": (0.71, 0.7)}[cell.arm]
    return round(mean + more + 0.003 * cell.seed**2 + (0.001 + more / 10) * slope * cell.seed, 4)


def records(planned: Study) -> list[StudyRecord]:
    found = []
    for cell in plan(planned):
        made = studies.record(planned, cell, accuracy(cell) - 0.05, accuracy(cell))
        assert made.result is not None
        facts = dataclasses.replace(made.result.data, name="cifar10", title=TITLE)
        layers = {"conv1": {"strength": 2.8 - 0.1 * cell.seed, "force_rms": 0.5}}
        epochs = [dataclasses.replace(e, physics=layers) for e in made.epochs]
        found.append(
            dataclasses.replace(
                made,
                result=dataclasses.replace(made.result, data=facts),
                epochs=tuple(epochs) if cell.arm == "ring" else made.epochs,
                test_accuracy_tta={"mirror+shift": accuracy(cell, 0.01)},
            )
        )
    return found


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder, of which the documented command has made tables and figures."""
    results = tmp_path_factory.mktemp("results")
    folder = StudyFolder(results / "s")
    folder.open(grid())
    for record in records(grid()):
        folder.write(record)
    command = [sys.executable, "-m", "physjax", "study", "--report", "--latex", "--name", "s"]
    done = subprocess.run(
        [*command, "--results-dir", str(results)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "physics_alexnet_cifar10.png" in done.stdout
    return folder.path


def values(folder: Path, model: str, arm: str, *where: str) -> list[float]:
    """What the record files of an arm hold there, in the order of the seeds."""
    found = []
    for seed in (0, 1, 2):
        value = json.loads(
            (folder / "records" / f"{model}-{arm}-cifar10-seed{seed}.json").read_text()
        )
        for key in where:
            value = value[key]
        found.append(value)
    return found


def lines(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(folder: Path) -> list[list[str]]:
    """The cells of every line of a table in tables.md."""
    text = (folder / "tables.md").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if line.startswith("|") and "--" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def percent(numbers: list[float]) -> list[str]:
    mean, sd = statistics.mean(numbers), statistics.stdev(numbers)
    return [f"{100 * mean:.2f} ± {100 * sd:.2f}", f"{100 * max(numbers):.2f}"]


@pytest.mark.parametrize(
    ("table", "model", "arm", "theirs"),
    [
        ("Table I", "cnn", "none", ["57.12", "65.05", "68.88", "70.02"]),
        ("Table II", "alexnet", "none", ["63.72", "66.03", "70.24", "78.39"]),
        ("Table III", "alexnet", "ring", ["77.83", "79.12", "87.25", "88.64"]),
    ],
)
def test_a_table_has_the_papers_figures_and_ours_from_the_records(
    reported: Path, table: str, model: str, arm: str, theirs: list[str]
) -> None:
    splits = {
        "training": (theirs[:2], ("result", "train_accuracy")),
        "testing": (theirs[2:], ("result", "test_accuracy")),
        "testing, TTA": (["–", "–"], ("test_accuracy_tta", "mirror+shift")),
    }
    text = " ".join((reported / "tables.md").read_text(encoding="utf-8").split())
    caption = (
        f"The paper's {table} ({TABLES[table].title}; CIFAR-10, 50 epochs) and ours, in percent: "
        f"{model}, arm `{arm}`, on {TITLE}, recipe fast, 10 epochs; mean ± sample standard "
        "deviation and maximum over n = 3 runs, last epoch."
    )
    assert caption in text
    latex = (reported / "tables.tex").read_text(encoding="ascii")
    assert (
        caption.replace("`none`", r"\texttt{none}")
        .replace("`ring`", r"\texttt{ring}")
        .replace("±", r"$\pm$")
        in latex
    )
    for split, (paper, where) in splits.items():
        numbers = values(reported, model, arm, *where)
        (mean, largest), (their_mean, their_max) = percent(numbers), paper
        assert [split, their_mean, mean, their_max, largest] in rows(reported)
        (line,) = [
            p for p in lines(reported, "paper") if (p["table"], p["split"]) == (table, split)
        ]
        assert float(line["mean"]) == pytest.approx(statistics.mean(numbers))
        assert float(line["sd"]) == pytest.approx(statistics.stdev(numbers))
        assert float(line["max"]) == max(numbers)
        assert line["n"] == "3"
        found = [line["paper_mean"], line["paper_max"]]
        assert [f"{100 * float(p):.2f}" if p else "–" for p in found] == paper
    # The arm without a law that is there for its biases has no table, nor has the cnn with a force.
    assert len(lines(reported, "paper")) == 9


def test_the_force_is_compared_with_the_plain_model_and_with_faster_biases(
    reported: Path,
) -> None:
    compared = [(d["model"], d["arm"], d["control"]) for d in lines(reported, "differences")]
    pairs = [("ring", "none"), ("ring", "scaled-bias"), ("scaled-bias", "none")]
    assert compared == [(model, *pair) for model in ("cnn", "alexnet") for pair in pairs]
    for line in lines(reported, "differences"):
        for prefix, where in (
            ("", ("result", "test_accuracy")),
            ("tta_", ("test_accuracy_tta", "mirror+shift")),
        ):
            ours, control = (
                values(reported, line["model"], line[arm], *where) for arm in ("arm", "control")
            )
            expected = stats.ttest_rel(ours, control)
            low, high = expected.confidence_interval(0.95)
            assert float(line[f"{prefix}t_low"]) == pytest.approx(low)
            assert float(line[f"{prefix}t_high"]) == pytest.approx(high)
            assert float(line[f"{prefix}p_value"]) == pytest.approx(expected.pvalue)
            each = [a - b for a, b in zip(ours, control, strict=True)]
            assert float(line[f"{prefix}difference"]) == pytest.approx(statistics.mean(each))
            shown = f"{100 * statistics.mean(each):+.2f} ± {100 * statistics.stdev(each):.2f}"
            arm = f"{line['arm']} − {line['control']}"
            (row,) = [r for r in rows(reported) if r[1:4] == [line["model"], arm, "3"]]
            assert row[11 if prefix else 4] == shown
            interval = f"{100 * low:+.2f} … {100 * high:+.2f}".replace("-", "−")
            assert row[12 if prefix else 5] == interval
        each = [f"{100 * (a - b):+.2f}" for a, b in _accuracies(reported, line)]
        assert [TITLE, line["model"], arm, *each] in rows(reported)


def _accuracies(folder: Path, line: dict[str, str]) -> list[tuple[float, float]]:
    both = (
        values(folder, line["model"], line[arm], "result", "test_accuracy")
        for arm in ("arm", "control")
    )
    return list(zip(*both, strict=True))


def test_accuracies_over_the_views_stand_beside_the_plain_ones(reported: Path) -> None:
    for model in ("cnn", "alexnet"):
        for arm in ("none", "ring", "scaled-bias"):
            expected = [TITLE, model, arm, "3"]
            for where in (
                ("result", "train_accuracy"),
                ("result", "test_accuracy"),
                ("test_accuracy_tta", "mirror+shift"),
            ):
                expected += percent(values(reported, model, arm, *where))
            assert expected in rows(reported)
    text = (reported / "tables.md").read_text(encoding="utf-8")
    assert "averaged over the views `mirror+shift`" in " ".join(text.split())


def test_a_run_without_its_accuracy_over_the_views_is_counted() -> None:
    first, *others = records(grid())
    made = [dataclasses.replace(first, test_accuracy_tta={"mirror": 0.1}), *others]
    frames = study_frames(made, plan(grid()), tta="mirror+shift")
    arms = arm_frame(frames.runs).set_index(["model", "arm"])
    assert arms["tta_n"][("cnn", "none")] == 2
    assert set(arms["tta_n"]) == {2, 3}
    line = paper_frame(arm_frame(frames.runs)).set_index(["table", "split"])
    assert tuple(line.loc[("Table I", "testing, TTA")][["n", "runs"]]) == (2, 3)
    assert study_frames(made, plan(grid()), tta=None).runs["test_accuracy_tta"].isna().all()


@pytest.mark.parametrize(
    ("model", "arm", "changes", "table"),
    [
        ("physics", "none", {"model": {"law": "none"}}, "Table II"),
        ("physics", "ring", {"model": {"law": "ring"}}, "Table III"),
        ("alexnet", "fixed", {"model": {"law": "ring", "learn_strength": False}}, "Table III"),
        ("alexnet", "none@momentum=0.8", {"model": {"law": "none"}}, "Table II"),
        ("alexnet", "scaled-bias", {"model": {"law": "none"}}, None),
        ("alexnet", "lrn", {"model": {"law": "lrn"}}, None),
        ("vgg11", "none", {"model": {"law": "none"}}, None),
        ("cnn", "ring", {"model": {"law": "ring"}}, None),
        ("cnn", "none", {"data": {"dataset": "digits"}, "model": {"law": "none"}}, None),
        ("cnn", "none", {"rule": {"update_rule": "coupled"}, "model": {"law": "none"}}, None),
    ],
)
def test_model_and_law_say_which_row_of_the_paper_an_arm_plays(
    model: str, arm: str, changes: dict[str, dict[str, Any]], table: str | None
) -> None:
    config = RECIPES["fast"].replace(data={"dataset": "cifar10"}).replace(model={"name": model})
    found = published(arm, config.replace(**changes))
    assert (found.table if found else None) == table


def test_only_all_images_of_the_papers_data_set_stand_in_its_tables() -> None:
    whole = RECIPES["fast"].replace(data={"dataset": "cifar10"})
    assert has_the_papers_images(whole)
    for change in ({"train_examples": 100}, {"test_examples": 100}, {"holdout": 0.1}):
        assert not has_the_papers_images(whole.replace(data=change))
    assert not has_the_papers_images(whole.replace(data={"dataset": "cifar100"}))


def test_a_study_of_other_images_has_no_tables_of_the_paper(tmp_path: Path) -> None:
    part = grid(config={"data": {"train_examples": 100}}, tta=None)
    frames = study_frames(records(part), plan(part))
    assert paper_frame(arm_frame(frames.runs)).empty


def test_who_has_held_images_out_judges_by_them() -> None:
    """The test images decide nothing there; one run without a validation set, and they do."""
    planned = grid(tta=None)
    made = [
        dataclasses.replace(
            record,
            epochs=(
                *record.epochs[:-1],
                dataclasses.replace(
                    record.epochs[-1], validation_accuracy=0.9 - 0.001 * index, validation_loss=0.5
                ),
            ),
        )
        for index, record in enumerate(records(planned))
    ]
    frames = study_frames(made, plan(planned))
    assert judged(frames.runs) == "validation"
    runs = frames.runs.set_index("run")
    for pair in frames.pairs.itertuples():
        held = [runs.loc[name, "validation_accuracy"] for name in (pair.run, pair.run_control)]
        assert pair.difference == pytest.approx(held[0] - held[1])
    (first, *_) = difference_frame(frames.pairs).itertuples()
    mine = frames.pairs[(frames.pairs["model"] == first.model) & (frames.pairs["arm"] == first.arm)]
    mine = mine[mine["arm_control"] == first.control]
    assert first.difference == pytest.approx(mine["difference"].mean())
    without = [dataclasses.replace(made[0], epochs=records(planned)[0].epochs), *made[1:]]
    frames = study_frames(without, plan(planned))
    assert judged(frames.runs) == "test"
    (pair, *_) = frames.pairs.itertuples()
    assert pair.difference == pytest.approx(pair.test_accuracy - pair.test_accuracy_control)
