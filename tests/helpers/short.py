"""Every base cut short, for tests that compile: what sets them apart is in the first blocks."""

from __future__ import annotations

from typing import Any

import pytest

from physjax.config import ModelConfig
from physjax.models import Classifier, build, googlenet

SHORT: dict[str, dict[str, Any]] = {
    "alexnet": {},
    "vgg11": {"depths": (1, 1, 1, 1, 1), "hidden": (8,)},
    "googlenet": {},
    "resnet20": {"depths": (1, 1), "features": (16, 32)},
    "resnet18": {"depths": (1, 1), "features": (64, 128)},
    "densenet": {"depths": (1, 1)},
}
"""Fields of the network that replace its own; GoogLeNet's blocks are replaced by `cut`."""


def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave GoogLeNet a pool and the first block with an auxiliary head."""
    kept = {name: googlenet._BLOCKS[name] for name in ("pool3", "4a")}
    monkeypatch.setattr(googlenet, "_BLOCKS", kept)


def build_short(name: str, num_classes: int, law: str, **arguments: Any) -> Classifier:
    """The base `name`, short and narrow."""
    config = ModelConfig(name, law=law, width=0.1, algorithm="direct", dropout=0.0)
    return build(config, num_classes, **arguments).clone(**SHORT[name])
