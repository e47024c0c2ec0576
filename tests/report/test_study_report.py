"""Tables and figures of a study, from records that were written by hand."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from helpers import studies
from physjax import plotting
from physjax.config import RECIPES
from physjax.records import RecordError
from physjax.report import figures
from physjax.report.comparison import arm_frame, difference_frame
from physjax.report.frames import StudyFrames, study_frames
from physjax.report.paper import is_the_papers
from physjax.report.study import report_study
from physjax.report.tables import latex_float
from physjax.study.design import Cell, Study, plan
from physjax.study.folder import StudyFolder

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]

RUNS = {
    "cnn-none-digits-seed0": 0.50,
    "cnn-ring-digits-seed0": 0.53,
    "cnn-none-digits-seed1": 0.60,
    "cnn-ring-digits-seed1": 0.61,
    "cnn-none-digits-seed2": 0.70,
    "cnn-ring-digits-seed2": 0.72,
}


def tables(folder: Path) -> str:
    """tables.md with single spaces: how wide a column is, is tabulate's affair."""
    return re.sub(" +", " ", (folder / "tables.md").read_text(encoding="utf-8"))


def frames_of(planned: Study, accuracies: dict[str, float], **how: bool) -> StudyFrames:
    """Frames of a study whose arms have these test accuracies, the same for all seeds."""
    runs = plan(planned)
    records = [studies.record(planned, c, 0.9, accuracies.get(c.arm, 0.8)) for c in runs]
    return study_frames(records, runs, **how)


def test_tables_and_figures_of_a_study(tmp_path: Path) -> None:
    studies.write(tmp_path / "s", studies.study(), RUNS)
    written = report_study(tmp_path / "s")
    assert {p.name for p in written} == {
        *("tables.md", "accuracy.csv", "differences.csv", "pairs.csv", "runs.csv"),
        *("accuracy_digits.png", "curves_cnn_digits.png", "differences.png"),
    }
    assert all(p.stat().st_size > 100 for p in written)
    text = tables(tmp_path / "s")
    assert "6 of 6 runs" in text
    assert "Accuracy in percent. Digits, 200 images, width 0.125, recipe smoke, 2 epochs." in text
    assert "| Digits | cnn | none | 3 | 70.00 ± 10.00 | 80.00 | 60.00 ± 10.00 | 70.00 |\n" in text
    # Differences 3, 1 and 2 points: 2 ± 1, t(0.975, 2) = 4.3027, over sqrt(3): ± 2.484.
    assert "| Digits | cnn | ring − none | 3 | +2.00 ± 1.00 | −0.48 … +4.48 |" in text
    assert "| +3.33 % |\n" in text
    assert "| Digits | cnn | ring − none | +3.00 | +1.00 | +2.00 |\n" in text
    assert "paper" not in text
    with (tmp_path / "s" / "differences.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert float(line["difference"]) == pytest.approx(0.02)
    assert float(line["t_low"]) == pytest.approx(0.02 - 4.302653 * 0.01 / 3**0.5)
    assert line["paper_difference"] == ""
    with (tmp_path / "s" / "runs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(r["test_accuracy"]) for r in lines] == [0.50, 0.60, 0.70, 0.53, 0.61, 0.72]
    assert [r["parameters"] for r in lines] == ["3060"] * 6


def test_columns_of_numbers_are_flush_right(tmp_path: Path) -> None:
    studies.write(tmp_path / "s", studies.study(), RUNS)
    report_study(tmp_path / "s")
    rules = [line for line in tables(tmp_path / "s").splitlines() if line.startswith("|:-")]
    right = [[cell.endswith("-:") for cell in rule.strip("|").split("|")] for rule in rules]
    assert right == [[False] * 3 + [True] * count for count in (5, 8, 3)]


def test_only_whole_pairs_are_compared(tmp_path: Path) -> None:
    """Seed 1 has no plain run, seed 2 none that ended well."""
    runs: dict[str, float | None] = {**RUNS, "cnn-none-digits-seed2": None}
    del runs["cnn-none-digits-seed1"]
    folder = studies.write(tmp_path / "s", studies.study(), runs)
    planned = plan(studies.study())
    frames = study_frames(list(folder.read(planned).values()), planned)
    assert list(frames.pairs["seed"]) == [0]
    assert frames.pairs["difference"].tolist() == pytest.approx([0.03])
    report_study(tmp_path / "s")
    assert "5 of 6 runs" in tables(tmp_path / "s")
    assert "| Digits | cnn | none | 1 (1 failed) |" in tables(tmp_path / "s")


@pytest.mark.parametrize("failed", ["ring", "n"])
def test_an_arm_that_failed_with_every_seed_has_a_line_and_no_figures(
    failed: str, tmp_path: Path
) -> None:
    """With `n` both arms did: there is no figure at all, and no comparison."""
    folder = studies.write(tmp_path / "s", studies.study(), RUNS)
    report_study(tmp_path / "s")
    for cell in plan(studies.study()):
        if failed in cell.name:
            folder.write(studies.failed(studies.study(), cell))
    written = {p.name for p in report_study(tmp_path / "s")}
    assert not (tmp_path / "s" / "differences.csv").exists()
    assert not (tmp_path / "s" / "figures" / "differences.png").exists()
    assert "differences.csv" not in written
    assert "differences.png" not in written
    assert ("accuracy_digits.png" in written) is (failed == "ring")
    assert "| digits | cnn | ring | 0 (3 failed) | – | – | – | – |" in tables(tmp_path / "s")


def test_a_study_of_one_run_has_no_deviation(tmp_path: Path) -> None:
    planned = studies.study(laws=("ring",), seeds=(0,))
    studies.write(tmp_path / "s", planned, {"cnn-ring-digits-seed0": 0.5})
    written = {p.name for p in report_study(tmp_path / "s", ("svg", "pdf"))}
    assert {"accuracy_digits.svg", "accuracy_digits.pdf"} < written
    assert "| Digits | cnn | ring | 1 | 60.00 | 60.00 | 50.00 | 50.00 |" in tables(tmp_path / "s")
    assert "Not compared" in tables(tmp_path / "s")


def test_each_arm_has_the_control_of_its_own_settings() -> None:
    """Another learning rate costs ten points; the ring gains one at either rate."""
    rate = {"optim": {"learning_rate": 0.2}}
    planned = studies.study(
        seeds=(0, 1),
        arms={
            "ring-lr02": {"model": {"law": "ring"}, **rate},
            "none-lr02": rate,
            "ring-weak": {"model": {"law": "ring", "interaction_strength": 0.5}},
            "coupled": {"rule": {"update_rule": "coupled", "gamma": 0.01}},
        },
    )
    accuracies = {"none": 0.8, "ring": 0.81, "ring-lr02": 0.71, "none-lr02": 0.7, "ring-weak": 0.82}
    frames = frames_of(planned, accuracies)
    found = difference_frame(frames.pairs).set_index("arm")
    assert found["control"].to_dict() == {
        "ring": "none",
        "ring-lr02": "none-lr02",
        "none-lr02": "none",
        "ring-weak": "none",
        "coupled": "none",
    }
    assert found["difference"]["ring-lr02"] == pytest.approx(0.01)
    # Arms without law and rule are there for their settings: those are what is compared.
    assert found["difference"]["none-lr02"] == pytest.approx(-0.1)


def test_a_swept_axis_is_compared_value_by_value(tmp_path: Path) -> None:
    planned = studies.study(seeds=(0, 1), axes={"optim": {"learning_rate": [0.1, 0.2]}})
    rates = {"0.1": {"none": 0.8, "ring": 0.83}, "0.2": {"none": 0.6, "ring": 0.61}}
    accuracies = {}
    for cell in plan(planned):
        law, _, value = cell.arm.partition("@")
        accuracies[cell.name] = rates[value.partition("=")[2]][law]
    studies.write(tmp_path / "s", planned, accuracies)
    report_study(tmp_path / "s")
    text = tables(tmp_path / "s")
    for value, difference in (("0.1", "+3.00"), ("0.2", "+1.00")):
        at = f"@learning_rate={value}"
        assert f"ring{at} − none{at} | 2 | {difference} ± 0.00 |" in text
        assert f"ring{at} − none{at} | {difference} | {difference} |" in text
    assert text.count(" − none") == 4
    assert "Not compared" not in text


def test_an_arm_without_a_control_of_its_settings_is_named_and_not_compared(tmp_path: Path) -> None:
    planned = studies.study(
        arms={"ring-lr02": {"model": {"law": "ring"}, "optim": {"learning_rate": 0.2}}}
    )
    studies.write(tmp_path / "s", planned, {**RUNS, "cnn-ring-lr02-digits-seed0": 0.7})
    report_study(tmp_path / "s")
    text = tables(tmp_path / "s")
    assert "without the law or rule: cnn `ring-lr02`." in text
    assert "ring-lr02 −" not in text


def test_the_papers_accuracies_stand_where_recipe_and_images_are_the_papers() -> None:
    grid = {"models": ("alexnet", "cnn"), "datasets": ("cifar10", "digits"), "seeds": (0,)}
    asked = arm_frame(frames_of(studies.study(**grid), {}, paper=True).runs)
    asked = asked.dropna(subset="paper_test_mean").set_index(["model", "arm"])
    assert set(asked["dataset"]) == {"cifar10"}
    assert asked["paper_test_mean"].to_dict() == {
        ("alexnet", "none"): 0.7024,
        ("alexnet", "ring"): 0.8725,
        ("cnn", "none"): 0.6888,
    }
    frames = frames_of(studies.study(**grid), {}, paper=True)
    differences = difference_frame(frames.pairs)
    known = differences.dropna(subset="paper_difference")
    assert known[["model", "arm"]].to_numpy().tolist() == [["alexnet", "ring"]]
    assert known["paper_improvement_rate"].item() == pytest.approx(0.24217, abs=1e-5)
    assert arm_frame(frames_of(studies.study(**grid), {}).runs)["paper_test_mean"].isna().all()

    (config,) = plan(Study(("alexnet",), ("ring",), ("cifar10",), (3,), recipe="paper")).values()
    assert is_the_papers(config, "CIFAR-10")
    assert not is_the_papers(config, "CIFAR-10 (JPEG-75 copy)")
    shorter = dataclasses.replace(config, optim=dataclasses.replace(config.optim, epochs=3))
    assert not is_the_papers(shorter, "CIFAR-10")
    assert not is_the_papers(RECIPES["fast"], "CIFAR-10")


def test_figures_hold_the_runs_and_the_intervals() -> None:
    """What is plotted is what was recorded."""
    planned = studies.study()
    runs = plan(planned)
    records = [studies.record(planned, c, RUNS[c.name] + 0.1, RUNS[c.name]) for c in runs]
    frames = study_frames(records, runs)

    def lines(plot: str) -> list[tuple[list[float], list[float]]]:
        fig = Figure()
        figures.FIGURES[plot][1](frames, fig)
        drawn = [line for axes in fig.axes for line in axes.lines]
        return [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn]

    assert lines("accuracy")[0][1] == [0.5, 0.6, 0.7]
    differences = lines("differences")
    assert differences[0][0] == pytest.approx([3, 1, 2])
    assert differences[1][0] == pytest.approx([2])
    assert differences[2][0] == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-4)
    # Training and test loss, training and test accuracy; in each without the ring and with it.
    curves = [values for epochs, values in lines("curves") if epochs == [1, 2]]
    expected = [[2, 1], [2.5, 1.25], [0.35, 0.7], [0.3, 0.6]]
    assert curves[::2] == [pytest.approx(values) for values in expected]
    assert len(curves) == 8


def test_a_figure_says_how_many_seeds_each_mean_in_it_has() -> None:
    """Two seeds of the ring have ended, three of its control."""
    planned = studies.study()
    runs = plan(planned)
    ended = [run for run in runs if run.name != "cnn-ring-digits-seed2"]
    records = [studies.record(planned, run, 0.9, RUNS[run.name]) for run in ended]
    frames = study_frames(records, runs)

    def title(plot: str) -> str:
        fig = Figure()
        figures.FIGURES[plot][1](frames, fig)
        return fig.get_suptitle()

    assert "mean ± sd over 2 to 3 seeds" in title("accuracy")
    assert "mean and range over 2 to 3 seeds" in title("curves")
    assert "mean over 2 seeds" in title("differences")


def test_an_arm_that_does_not_train_leaves_the_others_room() -> None:
    """Its difference is on the axis, which is logarithmic beyond what the others came to."""
    planned = studies.study(laws=("none", "ring", "spring", "lrn", "square"), seeds=(0,))
    accuracy = {"none": 0.8, "ring": 0.804, "spring": 0.796, "lrn": 0.802, "square": 0.1}
    scales = []
    for arms in (accuracy, {**accuracy, "square": 0.79}):
        runs = plan(planned)
        records = [studies.record(planned, c, 0.9, arms[c.arm]) for c in runs]
        fig = Figure()
        figures.draw_differences(study_frames(records, runs), fig)
        (axes,) = fig.axes
        low, high = axes.get_xlim()
        assert low < min(100 * (arms[arm] - 0.8) for arm in arms)
        assert high > 0.4
        scales.append((axes.get_xscale(), "logarithmic beyond" in axes.get_xlabel()))
    assert scales == [("symlog", True), ("linear", False)]


def test_learned_forces_have_a_figure_with_a_line_for_each_layer() -> None:
    planned = studies.study(laws=("none", "ring"), seeds=(0, 1))
    runs, records = plan(planned), []
    for cell in runs:
        record = studies.record(planned, cell, 0.5, 0.5)
        if cell.arm == "ring":
            layers = {f"conv{i}": {"strength": 2.0 + cell.seed, "force_rms": 0.1} for i in range(9)}
            epochs = [dataclasses.replace(e, physics=layers) for e in record.epochs]
            record = dataclasses.replace(record, epochs=tuple(epochs))
        records.append(record)
    fig = Figure()
    figures.draw_physics(study_frames(records, runs), fig)
    strength, force = fig.axes
    assert len(strength.lines) == len(force.lines) == 9
    assert list(strength.lines[0].get_ydata()) == [2.5, 2.5]
    assert len({(line.get_color(), line.get_marker()) for line in strength.lines}) == 9
    plain = Figure()
    figures.draw_physics(study_frames(records[:1], runs), plain)
    assert plain.axes == []


def test_the_figure_that_the_docs_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.setattr(figures, "FIGURES", dict(figures.FIGURES))
    exec(code, {})
    monkeypatch.setattr("physjax.report.study.FIGURES", figures.FIGURES)
    studies.write(tmp_path / "s", studies.study(), RUNS)
    assert tmp_path / "s" / "figures" / "seconds_digits.png" in report_study(tmp_path / "s")


def test_many_arms_with_long_names_leave_room_for_what_is_drawn(tmp_path: Path) -> None:
    axes = {"optim": {"learning_rate": [0.05, 0.1, 0.2], "momentum": [0.8, 0.9]}}
    planned = studies.study(seeds=(0,), axes=axes)
    runs = plan(planned)
    frames = study_frames([studies.record(planned, c, 0.9, 0.8) for c in runs], runs)
    for name, (_, plot) in figures.FIGURES.items():
        with plotting.figure(tmp_path / name) as fig:
            plot(frames, fig)
        for axes_drawn in fig.axes:
            box = axes_drawn.get_window_extent()
            assert box.width > 200, name
            assert box.height > 150, name
            inside = axes_drawn.get_legend()
            assert inside is None or inside.get_window_extent().x0 >= box.x1


def test_a_caption_names_what_all_runs_share() -> None:
    by_model = {"alexnet": {"optim": {"epochs": 3}}}
    planned = studies.study(models=("cnn", "alexnet"), seeds=(0,), by_model=by_model)
    frames = frames_of(planned, {})
    assert frames.title == "Digits, 200 images, width 0.125, recipe smoke"
    titles = {name: part.title for name, part in frames.by(["model"])}
    assert titles["cnn"] == "Digits, 200 images, width 0.125, recipe smoke, 2 epochs"
    assert titles["alexnet"].endswith(", 3 epochs")


def test_a_caption_in_latex_has_its_signs_escaped() -> None:
    text = latex_float("95 % of `a_b` & more: ± 1", "body\n")
    assert r"\caption{95 \% of \texttt{a\_b} \& more: $\pm$ 1}" in text
    assert text.startswith("\\begin{table}\n")
    assert text.endswith("body\n\\end{table}\n")


def test_latex_has_booktabs_and_no_letter_that_pdflatex_does_not_know(tmp_path: Path) -> None:
    studies.write(tmp_path / "s", studies.study(), RUNS)
    assert tmp_path / "s" / "tables.tex" in report_study(tmp_path / "s", latex=True)
    text = (tmp_path / "s" / "tables.tex").read_text(encoding="ascii")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    assert r"\caption{Accuracy in percent. Digits, 200 images, width 0.125, recipe smoke," in text
    assert r"ring $-$ none" in text
    assert r"60.00 $\pm$ 10.00" in text


def test_a_study_without_records_or_without_a_grid_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds no study: there is no study\.toml"):
        report_study(tmp_path)
    StudyFolder(tmp_path / "s").open(studies.study())
    with pytest.raises(
        RecordError, match=r"no run of the study in .* has ended yet; run it: .*--n"
    ):
        report_study(tmp_path / "s")


def test_runs_on_different_images_are_not_compared(tmp_path: Path) -> None:
    planned = studies.study()
    folder = studies.write(tmp_path / "s", planned, RUNS)
    cell = Cell("cnn", "ring", "digits", 1)
    made = studies.record(planned, cell, 0.5, 0.5)
    assert made.result is not None
    other = dataclasses.replace(
        made.result, data=dataclasses.replace(made.result.data, fingerprint="0" * 64)
    )
    folder.write(dataclasses.replace(made, result=other))
    with pytest.raises(RecordError, match="saw different images of digits"):
        report_study(tmp_path / "s")


def test_an_arm_may_have_letters_beyond_ascii(tmp_path: Path) -> None:
    planned = studies.study(seeds=(0,), arms={"größer-日本": {"optim": {"bias_scale": 2.0}}})
    studies.write(tmp_path / "s", planned, {c.name: 0.5 for c in plan(planned)})
    report_study(tmp_path / "s", ("png", "svg"), latex=True)
    assert "| größer-日本 − none | 1 |" in tables(tmp_path / "s")


def test_the_locale_changes_nothing_and_a_report_that_fails_leaves_the_last_one(
    tmp_path: Path,
) -> None:
    folder = studies.write(tmp_path / "s", studies.study(), RUNS)
    report_study(tmp_path / "s")
    before = (tmp_path / "s" / "tables.md").read_bytes()
    command = [
        *(sys.executable, str(ROOT / "experiments" / "study.py")),
        *("--report", "--name", "s", "--results-dir", str(tmp_path)),
    ]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s" / "tables.md").read_bytes() == before
    for cell in plan(studies.study()):
        folder.record_file(cell).unlink()
    with pytest.raises(RecordError):
        report_study(tmp_path / "s")
    assert (tmp_path / "s" / "tables.md").read_bytes() == before


def test_what_a_gate_learned_is_drawn_by_layer_for_each_arm() -> None:
    planned = studies.study(laws=("none", "ring-gate", "ring"))
    runs = plan(planned)
    weights = {"ring-gate": {"weights[0]": [0.5]}, "ring": {"neighbor_forces": [1.0, 2.0]}}
    records = [
        studies.record(
            *(planned, c, 0.9, 0.8),
            law_parameters={f"conv{i}": weights[c.arm] for i in (1, 2)} if c.arm in weights else {},
        )
        for c in runs
    ]
    frames = study_frames(records, runs)
    fig = Figure()
    figures.draw_parameters(frames, fig)
    (axes,) = fig.axes
    assert axes.get_title() == "ring-gate"
    assert list(axes.lines[0].get_ydata()) == [0.5, 0.5]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["conv1", "conv2"]
    plain = Figure()
    figures.draw_parameters(study_frames(records[:1], runs), plain)
    assert not plain.axes
