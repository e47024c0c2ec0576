"""How figures and tables name what was trained on what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from physjax.config import Config
from physjax.records import DataFacts


def setting(config: Config) -> str:
    """`2,000 images, width 0.25, recipe fast, 10 epochs`: what an accuracy has to be read with."""
    images, tested, width = (
        config.data.train_examples,
        config.data.test_examples,
        config.model.width,
    )
    epochs = config.optim.epochs
    parts = [
        f"{images:,} images" if images is not None else "",
        f"{tested:,} test images" if tested is not None else "",
        f"width {width:g}" if width != 1 else "",
        f"recipe {config.recipe}",
        f"{epochs:,} epoch" + ("s" if epochs > 1 else ""),
    ]
    return ", ".join(part for part in parts if part)


def common_setting(settings: Iterable[str]) -> str:
    """What all of some texts of :func:`setting` say; empty: nothing."""
    parts = [setting.split(", ") for setting in dict.fromkeys(settings)]
    return ", ".join(part for part in (parts or [[]])[0] if all(part in p for p in parts))


def _own(settings: Mapping[str, Any]) -> str:
    """` (length 4, reach 2)`: what is chosen of a law's or rule's settings; empty: nothing is."""
    shown = ", ".join(f"{name} {settings[name]}" for name in sorted(settings))
    return f" ({shown})" if shown else ""


def run_title(config: Config, data: DataFacts | None) -> str:
    """`physics on CIFAR-10, recipe fast, 10 epochs, seed 0`: the heading of every figure of a run.

    Args:
        config: the run's.
        data: facts on its images, from its result; None before it has ended.
    """
    name = config.data.dataset if data is None else data.title
    law = "" if config.model.law == "default" else f" with {config.model.law}"
    law += _own(config.law.own)
    rule = config.rule.update_rule
    by = "" if rule == "backprop" else f" by {rule}{_own(config.rule.own)}"
    return f"{config.model.name}{law}{by} on {name}, {setting(config)}, seed {config.run.seed}"
