"""Layered networks of resistors and ideal diodes, as deep resistive networks are.

Every node of a layer is joined by an adjustable resistor to every node of the next; nodes of one
layer are not joined. Layer 0 are voltage sources at gain x and -gain x: conductances are not
negative, and so an output that is to fall where an input rises needs the input's negative. A
current source feeds a bias into each further node. Diodes to ground hold one half of the nodes of
each hidden layer at v >= 0, and the other half at v <= 0; without them the network is linear.

Source: Scellier, A fast algorithm to simulate nonlinear resistive networks, ICML 2024
(arXiv:2402.11674). The signal grows weaker from layer to layer, and the gain makes up for it.
Amplifiers between the layers, that multiply voltages by A on the way up and currents by 1/A on the
way down (Kendall et al., arXiv:2006.01981), do nothing else: in voltages counted in units of what
the amplifiers below have made of 1 V they drop out, but for a gain of A^layers at the input.

Shapes are written with S samples and n_k nodes in layer k, k = 0 .. L; n_0 is twice the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from physjax.resistive.checks import NetworkError, check_integer, check_number, check_seed

MAX_NODES = 100_000
"""Of a layer."""
MAX_GAIN = 1e6
"""Of the inputs."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["conductances", "currents"],
    meta_fields=["diodes", "gain"],
)
@dataclass(frozen=True)
class LayeredNetwork:
    """Conductances between layers, and what is fed into their nodes: one pytree.

    Attributes:
      conductances: in siemens, not negative: [n_{k-1}, n_k] for k = 1 .. L.
      currents: fed into the nodes in amperes: [n_k] for k = 1 .. L.
      diodes: whether diodes hold the hidden nodes on their half lines.
      gain: by which inputs are multiplied before they become voltages.
    """

    conductances: tuple[Any, ...]
    currents: tuple[Any, ...]
    diodes: bool
    gain: float

    def __len__(self) -> int:
        """L, the number of layers that are free to move; the last are the outputs."""
        return len(self.conductances)

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_0 .. n_L."""
        first, *_ = self.conductances
        return (first.shape[0], *(g.shape[1] for g in self.conductances))

    def limits(self, layer: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between which voltages the diodes hold the nodes of a layer, [n_k] each.

        Args:
          layer: 1 .. L. Outputs have no diodes.

        Returns:
          The lower and the upper limit of each node in volts, which may be infinite.
        """
        nodes = self.sizes[layer]
        low, high = np.full(nodes, -np.inf), np.full(nodes, np.inf)
        if self.diodes and layer < len(self):
            half = (nodes + 1) // 2
            low[:half] = 0.0
            high[half:] = 0.0
        return low, high


def layered_network(
    sizes: Sequence[int], seed: int = 0, *, diodes: bool = True, gain: float = 1.0
) -> LayeredNetwork:
    """A network as it is before it learns: g = max(0, c), c uniform in +-1/sqrt(n_{k-1}).

    Half of the resistors conduct nothing at first; no current is fed in.

    Args:
      sizes: number of inputs, nodes of each hidden layer, number of outputs. Each input becomes two
        sources.
      seed: of the conductances.
      diodes: whether hidden nodes have them.
      gain: of the inputs.

    Returns:
      The network, in float64.

    Raises:
      NetworkError: a size, the seed or the gain is out of range; fewer than two sizes.
    """
    if len(sizes) < 2:
        raise NetworkError(f"a layered network needs inputs and outputs, not sizes {list(sizes)}")
    for size in sizes:
        check_integer("number of nodes in a layer", size, 1, MAX_NODES)
    check_seed(seed)
    check_number("gain", gain, 1e-6, MAX_GAIN)
    rng = np.random.default_rng(seed)
    nodes = (2 * sizes[0], *sizes[1:])
    conductances = [
        np.maximum(0.0, rng.uniform(-1, 1, shape) / np.sqrt(shape[0])) for shape in pairwise(nodes)
    ]
    currents = [np.zeros(size) for size in nodes[1:]]
    return LayeredNetwork(tuple(conductances), tuple(currents), diodes, float(gain))
