"""The tables and figures of a study, from its folder alone."""

from __future__ import annotations

from pathlib import Path

from physjax import files
from physjax.grid import plan
from physjax.records import RecordError
from physjax.report import figures
from physjax.report.comparison import Arm, arms, comparisons
from physjax.report.tables import accuracy_table, difference_table, run_table
from physjax.study_records import StudyFolder

_NOTES = """\
Accuracies in percent, of the last epoch: nothing is selected on the test set. `train` is measured
while the parameters move, augmentation and dropout on. Mean ± sample standard deviation over n runs
with different seeds; `best` is the best run's. The paper's figures come from its own recipes.
"""
_PAIRED_NOTES = """\
Runs of equal seeds saw the same batches and, where the arms share parameters, began with the same
values; each pair gives one difference. The t interval (Student, n − 1 degrees of freedom) is the
one to quote; the bootstrap (percentiles over resampled pairs) is too narrow for a handful of pairs.
p is the two-sided paired t test's, for one comparison by itself. Improvement rate: difference over
the plain arm's mean. The paper's difference is unpaired and between two recipes.
"""


def draw(path: Path) -> list[Path]:
    """Write tables.md, the CSV files and the figures of the study in `path`; their paths.

    Raises RecordError where there is no study, none of its runs has ended, or its records do not
    belong together.
    """
    folder = StudyFolder(path)
    runs = plan(folder.read_study())
    records = folder.read(runs)
    if not records:
        raise RecordError(f"no run of the study in {path} has ended yet")
    found = arms(records.values())
    pairs = comparisons(found)
    tables = {"accuracy": accuracy_table(found), "runs": run_table(found)}
    text = [
        f"# Study {path.name}\n",
        f"{len(records)} of {len(runs)} runs have ended. Made by "
        f"`python experiments/study.py --name {path.name}` from the grid in study.toml.\n",
        "## Accuracy\n",
        tables["accuracy"].markdown(),
        _NOTES,
    ]
    if pairs:
        tables["differences"] = difference_table(pairs)
        text += [
            "## Difference to the plain model, paired by seed\n",
            tables["differences"].markdown(),
            _PAIRED_NOTES,
        ]
    written = [path / "tables.md"]
    files.atomic_write(written[0], "\n".join(text))
    for name, table in tables.items():
        written.append(path / f"{name}.csv")
        files.atomic_write(written[-1], table.csv())
    palette = figures.colors(found)
    for dataset, group in _groups(found, by_model=False).items():
        written.append(folder.figures / f"accuracy_{dataset}.png")
        figures.draw_accuracy(written[-1], group, palette)
    for name, group in _groups(found, by_model=True).items():
        written.append(folder.figures / f"curves_{name}.png")
        figures.draw_curves(written[-1], group, palette)
    if pairs:
        written.append(folder.figures / "differences.png")
        figures.draw_differences(written[-1], pairs, palette)
    return written


def _groups(found: list[Arm], *, by_model: bool) -> dict[str, list[Arm]]:
    groups: dict[str, list[Arm]] = {}
    for arm in found:
        name = f"{arm.model}_{arm.dataset}" if by_model else arm.dataset
        groups.setdefault(name, []).append(arm)
    # An arm of which no run ended well has no point and no curve.
    return {name: group for name, group in groups.items() if any(arm.records for arm in group)}
