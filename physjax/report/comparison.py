"""The runs of a study, grouped into arms and into pairs of arms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from physjax.grid import PLAIN
from physjax.records import Result
from physjax.report.paper import Published, published
from physjax.report.statistics import Paired, Summary, paired, summarize
from physjax.study_records import StudyRecord


@dataclass(frozen=True)
class Arm:
    """The runs of one base model, arm and data set, which differ in the seed."""

    dataset: str
    title: str
    """The data set's, deviations from the original named."""
    model: str
    arm: str
    records: tuple[StudyRecord, ...]
    """Those that ended well, by seed."""
    failed: int
    """How many runs ended with a loss that is not finite; they are in no mean."""

    @property
    def results(self) -> tuple[Result, ...]:
        """Of the records."""
        return tuple(r.result for r in self.records if r.result is not None)

    @property
    def train(self) -> Summary | None:
        """Training accuracy of the last epoch, over the seeds; None where no run ended well."""
        return summarize([r.train_accuracy for r in self.results]) if self.results else None

    @property
    def test(self) -> Summary | None:
        """Test accuracy of the last epoch, likewise."""
        return summarize([r.test_accuracy for r in self.results]) if self.results else None

    @property
    def paper(self) -> Published | None:
        """What the paper reports for it."""
        return published(self.model, self.arm, self.dataset)


@dataclass(frozen=True)
class Comparison:
    """One arm against the plain arm of the same base model and data set, seed by seed."""

    treatment: Arm
    control: Arm
    seeds: tuple[int, ...]
    """Those that both have."""
    difference: Paired
    """Of the test accuracies of the last epoch."""

    @property
    def published_difference(self) -> float | None:
        """The paper's mean test accuracies subtracted: unpaired, and of two recipes."""
        ours, plain = self.treatment.paper, self.control.paper
        return None if ours is None or plain is None else ours.test_mean - plain.test_mean

    @property
    def published_rate(self) -> float | None:
        """The same as a fraction of the plain model's."""
        plain, difference = self.control.paper, self.published_difference
        return None if plain is None or difference is None else difference / plain.test_mean


def arms(records: Iterable[StudyRecord]) -> list[Arm]:
    """The arms among `records`, in the order in which they first come, data set by data set."""
    groups: dict[tuple[str, str, str], list[StudyRecord]] = {}
    for record in records:
        cell = record.cell
        groups.setdefault((cell.dataset, cell.model, cell.arm), []).append(record)
    found = []
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    for key in sorted(groups, key=lambda k: datasets.index(k[0])):
        runs = sorted(groups[key], key=lambda r: r.cell.seed)
        ended = tuple(r for r in runs if r.result is not None)
        title = key[0]
        for record in ended[:1]:
            assert record.result is not None
            title = record.result.data["title"]
        found.append(Arm(key[0], title, key[1], key[2], ended, len(runs) - len(ended)))
    return found


def comparisons(found: Iterable[Arm]) -> list[Comparison]:
    """Every arm but the plain ones against its plain twin, over the seeds that both have."""
    by_key = {(a.dataset, a.model, a.arm): a for a in found}
    pairs = []
    for (dataset, model, name), arm in by_key.items():
        control = by_key.get((dataset, model, PLAIN))
        if name == PLAIN or control is None:
            continue
        ours, theirs = (
            {r.cell.seed: r.result.test_accuracy for r in a.records if r.result is not None}
            for a in (arm, control)
        )
        seeds = tuple(seed for seed in ours if seed in theirs)
        if seeds:
            difference = paired([ours[s] for s in seeds], [theirs[s] for s in seeds])
            pairs.append(Comparison(arm, control, seeds, difference))
    return pairs
