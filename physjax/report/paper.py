"""What the paper reports, to compare our own results with.

Cheng, Wang & Lu, *Physic-Driven AlexNet*, Tables I to III: CIFAR-10, 50 epochs, five runs. Its
plain and its physics-driven AlexNet were trained by different recipes, and its runs are not paired.
"""

from __future__ import annotations

from dataclasses import dataclass

from physjax.config import RECIPES, Config, differences

DATASET, TITLE = "cifar10", "CIFAR-10"


@dataclass(frozen=True)
class Published:
    """One table of the paper. Accuracies are fractions in [0, 1]."""

    table: str
    train_mean: float
    train_best: float
    test_mean: float
    test_best: float


_CNN = Published("Table I", 0.5712, 0.6505, 0.6888, 0.7002)
_ALEXNET = Published("Table II", 0.6372, 0.6603, 0.7024, 0.7839)
_PHYSICS = Published("Table III", 0.7783, 0.7912, 0.8725, 0.8864)

# By base model and arm.
_TABLES = {
    ("cnn", "none"): _CNN,
    ("alexnet", "none"): _ALEXNET,
    ("alexnet", "ring"): _PHYSICS,
    ("physics", "none"): _ALEXNET,
    ("physics", "ring"): _PHYSICS,
}


def published(model: str, arm: str, dataset: str) -> Published | None:
    """What the paper has for this arm, however it was trained here; None where it has nothing."""
    return _TABLES.get((model, arm)) if dataset == DATASET else None


def is_the_papers(config: Config, title: str) -> bool:
    """Whether a run had the paper's recipe and its images, so that accuracies can be compared.

    Args:
        config: the run's.
        title: of its images, which says how they deviate from the original.
    """
    changed = {line.split(":")[0] for line in differences(RECIPES["paper"], config)}
    return title == TITLE and changed <= {"model.name", "model.law", "data.dataset", "run.seed"}
