"""What the paper reports, and its tables with our own accuracies beside its own.

Cheng, Wang & Lu, *Physic-Driven AlexNet*, Tables I to III: CIFAR-10, 50 epochs. Its plain and its
physics-driven AlexNet were trained by different recipes, and its runs are not paired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from physjax.config import RECIPES, Config, differences
from physjax.study.design import PLAIN

DATASET, TITLE = "cifar10", "CIFAR-10"


@dataclass(frozen=True)
class Published:
    """One table of the paper. Accuracies are fractions in [0, 1]."""

    table: str
    title: str
    train_mean: float
    train_best: float
    test_mean: float
    test_best: float


PUBLISHED_FIGURES = ("train_mean", "train_best", "test_mean", "test_best")


_CNN = Published("Table I", "CNN image classification accuracy", 0.5712, 0.6505, 0.6888, 0.7002)
_ALEXNET = Published(
    "Table II", "Alex Network image classification accuracy", 0.6372, 0.6603, 0.7024, 0.7839
)
_PHYSICS = Published(
    "Table III",
    "Physic-Driven Alex Network image classification accuracy",
    *(0.7783, 0.7912, 0.8725, 0.8864),
)
TABLES = {table.table: table for table in (_CNN, _ALEXNET, _PHYSICS)}

# By base model and force law; `physics` is the AlexNet whose own law is the ring.
_ROLES = {
    ("cnn", "none"): _CNN,
    ("alexnet", "none"): _ALEXNET,
    ("physics", "none"): _ALEXNET,
    ("alexnet", "ring"): _PHYSICS,
    ("physics", "ring"): _PHYSICS,
}


def published(arm: str, config: Config) -> Published | None:
    """What the paper has for a run of a study, however that was trained; None: nothing.

    Base model and law say which of its networks the run is. Without a law that is the plain arm
    alone: others without one, like `scaled-bias`, are there for what they change.
    """
    model, law = config.model.name, config.model.law
    if config.data.dataset != DATASET or config.rule.update_rule != "backprop":
        return None
    if law == PLAIN and arm.partition("@")[0] != PLAIN:
        return None
    return _ROLES.get((model, law))


def has_the_papers_images(config: Config) -> bool:
    """Whether a run had all images of the paper's data set, in whatever copy."""
    part = config.data
    return (
        part.dataset == DATASET
        and part.train_examples is part.test_examples is None
        and not part.holdout
    )


def is_the_papers(config: Config, title: str) -> bool:
    """Whether a run had the paper's recipe and its images, so that accuracies can be compared.

    Args:
        config: the run's.
        title: of its images, which says how they deviate from the original.
    """
    changed = {line.split(":")[0] for line in differences(RECIPES["paper"], config)}
    return title == TITLE and changed <= {"model.name", "model.law", "data.dataset", "run.seed"}


def paper_frame(arms: pd.DataFrame) -> pd.DataFrame:
    """Two or three lines for each arm with a place in a table of the paper, by that table.

    Args:
        arms: of :func:`physjax.report.comparison.arm_frame`.

    Returns:
        Columns `table`, `title` (of the images), `setting`, `dataset`, `model`, `arm`, and of each
        line: `split` (`training`, `testing`, and `testing, TTA` where there is such an accuracy);
        `n` of the arm's `runs`; and of their accuracies `mean`, `sd`, `max`, `paper_mean` and
        `paper_max`, NaN where they are not known.
    """
    lines = []
    for name, table in TABLES.items():
        for arm in arms[(arms["table"] == name) & (arms["n"] > 0)].to_dict("records"):
            about = {key: arm[key] for key in _ABOUT} | {"runs": arm["n"]}
            counts = {"train": arm["n"], "test": arm["n"], "tta": arm["tta_n"]}
            for part, split in _SPLITS.items():
                if counts[part]:
                    ours = {k: arm[f"{part}_{v}"] for k, v in _FIGURES.items()}
                    theirs = {
                        f"paper_{k}": getattr(table, f"{part}_{v}", math.nan)
                        for k, v in _FIGURES.items()
                        if k != "sd"
                    }
                    lines.append({**about, "split": split, "n": counts[part], **ours, **theirs})
    return pd.DataFrame(lines)


_ABOUT = ("table", "title", "setting", "dataset", "model", "arm")
_SPLITS = {"train": "training", "test": "testing", "tta": "testing, TTA"}
_FIGURES = {"mean": "mean", "sd": "sd", "max": "best"}
