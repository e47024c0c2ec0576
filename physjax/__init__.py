"""physjax: physics-driven layers and learning rules on image classifiers, in JAX/Flax.

The public names; each is loaded when it is first asked for, so that records can be read and drawn
without JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Config": "config",
    "RECIPES": "config",
    "ForceLaw": "forces",
    "LAWS": "forces",
    "PhysicsLayer": "nn.physics",
    "MODELS": "models",
    "build": "models",
    "fit": "train.loop",
    "load": "data",
    "RunFolder": "records",
}

__all__ = ["LAWS", "MODELS", "RECIPES", "Config", "ForceLaw", "PhysicsLayer", "RunFolder"]
__all__ += ["build", "fit", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
