"""Each rule teaches a network something: the basic CNN, narrow, on the digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from physjax.config import recipe
from physjax.records.run import Result
from physjax.train.loop import fit

# By chance 0.1. Bounds lie a few points below what single runs reached.
_LEAST: dict[str, tuple[dict[str, Any], float]] = {
    "feedback-alignment": ({}, 0.9),
    "equilibrium-propagation": ({}, 0.93),
    "coupled-learning": ({}, 0.9),
    "dual-propagation": ({}, 0.93),
    "channel-resistances": ({}, 0.9),
    "contrastive": ({"cost": "squared"}, 0.7),
}


def trained(folder: Path, rule: dict[str, Any], **optim: Any) -> Result:
    config = recipe("standard").replace(
        data={"dataset": "digits"},
        augment={"crop": "none", "cutout": 0},
        model={"name": "cnn", "width": 0.25, "dropout": 0.0},
        optim={"epochs": 6, "batch_size": 32, "learning_rate": 0.02, **optim},
        rule=rule,
        run={"runs_dir": str(folder)},
    )
    result = fit(config, console=Console(quiet=True)).result
    assert result is not None
    return result


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(name, marks=pytest.mark.slow if at == 0 else pytest.mark.exhaustive)
        for at, name in enumerate(_LEAST)
    ],
)
def test_the_basic_cnn_learns_the_digits(rule: str, tmp_path: Path) -> None:
    settings, least = _LEAST[rule]
    assert trained(tmp_path, {"update_rule": rule, **settings}).test_accuracy > least


@pytest.mark.exhaustive
def test_resistances_learn_where_kernels_are_frozen(tmp_path: Path) -> None:
    """More than a head that learns alone, by the same rule and from the same start."""
    rule = {
        "update_rule": "channel-resistances",
        "kernels": "frozen",
        "others": "frozen",
        "dense": "contrast",
    }
    alone = trained(tmp_path / "alone", {**rule, "gamma": 0.0})
    both = trained(tmp_path / "both", {**rule, "gamma": 1.0})
    assert both.train_accuracy > alone.train_accuracy
