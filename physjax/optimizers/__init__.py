"""Optimisers, and their registry.

A new optimiser is one file with an :class:`Optimizer` in it and one line in `OPTIMIZERS`.
"""

from etils import epy

from physjax.config.registry import Registry

OPTIMIZERS: "Registry[Optimizer]" = Registry(
    "optimiser",
    "physjax.optimizers.optimizer:Optimizer",
    {
        "sgd": "physjax.optimizers.sgd",
        "adamw": "physjax.optimizers.adamw",
        "lamb": "physjax.optimizers.lamb",
        "muon": "physjax.optimizers.muon",
    },
)
"""By name; each file is imported when its optimiser is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.optimizers.masks import kernel_mask, path_mask
    from physjax.optimizers.optimizer import Optimizer
    from physjax.optimizers.schedule import make_schedule

__all__ = ["OPTIMIZERS", "Optimizer", "get_optimizer", "kernel_mask", "make_schedule", "path_mask"]


def get_optimizer(name: str) -> "Optimizer":
    """The optimiser of that name. Raises ConfigError with the names that exist."""
    return OPTIMIZERS.get_named(name)
