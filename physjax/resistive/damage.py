"""Damage: edges that are cut, chosen by hand or at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from physjax.resistive.checks import NetworkError, check_integer, check_seed
from physjax.resistive.network import Network, components


def cut(net: Network, edges: Sequence[int]) -> Network:
    """The network without the given edges. They keep their number, and conduct nothing.

    Args:
      net: a network, or a stack of them.
      edges: numbers of edges.

    Returns:
      The damaged network.

    Raises:
      NetworkError: for an edge that the network does not have.
    """
    for edge in edges:
        check_integer("number of an edge to cut", edge, 0, net.graph.num_edges - 1)
    intact = np.array(net.intact)
    intact[..., list(edges)] = 0.0
    return Network(net.graph, net.conductances, intact)


def random_cuts(net: Network, number: int, seed: int) -> list[int]:
    """Random intact edges whose loss leaves the network in one piece.

    Args:
      net: one network.
      number: how many edges.
      seed: of the random order in which edges are tried.

    Returns:
      Numbers of edges, for :func:`cut`.

    Raises:
      NetworkError: `number` is negative, or the network falls apart before so many edges are gone.
    """
    check_integer("number of cuts", number, 0, net.graph.num_edges)
    check_seed(seed)
    rng = np.random.default_rng(seed)
    intact = np.array(net.intact)
    if intact.ndim != 1:
        raise NetworkError("random_cuts takes one network, not a stack of them")
    chosen: list[int] = []
    pieces = components(net.graph, intact).max()
    for edge in rng.permutation(np.flatnonzero(intact)):
        if len(chosen) == number:
            break
        intact[edge] = 0.0
        if components(net.graph, intact).max() == pieces:
            chosen.append(int(edge))
        else:
            intact[edge] = 1.0
    if len(chosen) < number:
        raise NetworkError(f"only {len(chosen)} of {number} edges can go before the network parts")
    return chosen
