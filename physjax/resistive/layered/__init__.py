"""Layered networks of resistors and diodes that learn by equilibrium propagation.

from physjax import resistive

net = resistive.layered_network((2, 16, 2), gain=4.0)
"""

from physjax.resistive.layered.network import LayeredNetwork, layered_network
from physjax.resistive.layered.presets import classification
from physjax.resistive.layered.settling import layered_state
from physjax.resistive.layered.training import (
    LayeredHistory,
    LayeredOptions,
    layered_outputs,
    train_layered,
)

__all__ = [
    "LayeredHistory",
    "LayeredNetwork",
    "LayeredOptions",
    "classification",
    "layered_network",
    "layered_outputs",
    "layered_state",
    "train_layered",
]
