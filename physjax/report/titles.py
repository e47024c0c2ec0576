"""How figures and tables name what was trained on what."""

from __future__ import annotations

from physjax.config import Config
from physjax.records import DataFacts


def setting(config: Config) -> str:
    """`2,000 images, width 0.25, recipe fast`: what an accuracy has to be read with."""
    images, tested, width = (
        config.data.train_examples,
        config.data.test_examples,
        config.model.width,
    )
    parts = [
        f"{images:,} images" if images is not None else "",
        f"{tested:,} test images" if tested is not None else "",
        f"width {width:g}" if width != 1 else "",
        f"recipe {config.recipe}",
    ]
    return ", ".join(part for part in parts if part)


def run_title(config: Config, data: DataFacts | None) -> str:
    """`physics on CIFAR-10, recipe fast, seed 0`: the heading of every figure of a run.

    Args:
        config: the run's.
        data: facts on its images, from its result; None before it has ended.
    """
    name = config.data.dataset if data is None else data.title
    law = "" if config.model.law == "default" else f" with {config.model.law}"
    return f"{config.model.name}{law} on {name}, {setting(config)}, seed {config.run.seed}"
