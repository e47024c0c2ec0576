"""Relaxation: how a chain of layers comes to rest, round by round (`physjax.rules.energy`).

The moves are those of Kerjan, Hoier & Scellier (arXiv:2606.03584): every other layer at once, each
to where it would be at rest beside its neighbours as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from physjax.rules.chain import Chain
from physjax.rules.energy import Free, Settled, divergence
from physjax.rules.rule import Tree

Drive = Callable[[jax.Array, jax.Array], jax.Array]
"""(h_L, a_L), [S, N, K] each -> the output's new state: how it is held, or nudged."""


class Trace(struct.PyTreeNode):
    """What a relaxation went through: at the start and after each round, [rounds + 1, layers]."""

    energy: jax.Array
    """Of each layer, summed over states and examples."""
    residual: jax.Array
    """Norm of dE/dh_k, over states and examples; the output's, which is driven, is not counted."""


class Relaxed(struct.PyTreeNode):
    """A network at rest with its output driven, and where it came from."""

    free: Free
    """The forward pass."""
    settled: Settled
    """One or two states: clamped, or nudged by beta and by -beta."""
    trace: Trace | None
    """By round, where `Network.trace` asks for it."""


def settle(
    chain: Chain,
    params: Tree,
    free: Sequence[jax.Array],
    drive: Drive,
    *,
    states: int = 1,
    rounds: int,
    damping: float = 1.0,
    adaptive: bool = False,
    trace: bool = False,
) -> tuple[Settled, Trace | None]:
    """Relax the layers from the free state with their output driven: a pure function, unrolled.

    A round moves all even layers at once, counted from 1, and then all odd ones. In the limit of
    small drives L layers are at rest after L rounds; layers that the drive cannot have reached yet
    are left out. Unrolled and not a loop, since XLA:CPU's direct convolutions are hundreds of times
    slower in one.

    Args:
      chain: the layers.
      params: of the network.
      free: a_k [N, ...] of the free state.
      drive: how the output moves.
      states: S, how many states settle beside each other.
      rounds: how many; 0: as many as there are layers.
      damping: u_k moves this share of the way, 0 to 1.
      adaptive: let each layer of each example move a smaller share, 1 / (1 + c), where its moves
        have met a curvature c in the layer above: a full move lands beyond the minimum there, and
        farther from it than before where c > 1.
      trace: note energy and residuals by round, which costs about as much again.

    Returns:
      The states after the last round, and the trace where it was asked for.
    """
    run = _Run(chain, jax.tree.leaves(params), free, drive, states, damping, adaptive)
    noted = [run.measure()] if trace else []
    for _ in range(rounds or len(chain)):
        for first in (1, 0):
            run.move(range(first, len(chain), 2))
        noted += [run.measure()] if trace else []
    found = Trace(*(jnp.stack(rows) for rows in zip(*noted, strict=True))) if trace else None
    return Settled(tuple(run.u), tuple(run.a)), found


class _Run:
    """The states of a relaxation while its rounds are written down."""

    def __init__(
        self,
        chain: Chain,
        leaves: Sequence[jax.Array],
        free: Sequence[jax.Array],
        drive: Drive,
        states: int,
        damping: float,
        adaptive: bool,
    ) -> None:
        self.chain, self.leaves, self.drive = chain, leaves, drive
        self.damping, self.adaptive = damping, adaptive
        self.a = [jnp.broadcast_to(a, (states, *a.shape)) for a in free]
        self.u = list(self.a)
        self.h = [chain.state(k, u) for k, u in enumerate(self.u)]
        self.lowest = len(chain)  # of the layers that have moved since the free state
        # 1 / damping - 1 of curvature makes a first move of that share.
        shape = self.a[0].shape[:2]
        self.curvature = [jnp.full(shape, 1 / damping - 1, self.a[0].dtype) for _ in free]

    def feedback(self, k: int) -> jax.Array | None:
        """What layer k+1 sends back to layer k; None where it is zero, since nothing has moved."""
        if k == self.chain.last or k + 1 < self.lowest:
            return None
        residual = self.h[k + 1] - self.chain.state(k + 1, self.a[k + 1])
        above = partial(self.chain.drive, k + 1, self.leaves)
        (back,) = jax.vjp(above, self.h[k])[1](residual)
        return back

    def move(self, group: Iterable[int]) -> None:
        """Move layers that do not act on each other, and look at what those above see then."""
        for k in group:
            if k == self.chain.last:
                rest = self.drive(self.h[k], self.a[k])
            elif (back := self.feedback(k)) is None:
                continue
            else:
                rest = self.part(k, self.a[k] + back)
            before, self.u[k], self.h[k] = self.h[k], rest, self.chain.state(k, rest)
            self.lowest = min(self.lowest, k)
            if k != self.chain.last:
                self.look_up(k, self.h[k] - before)

    def part(self, k: int, rest: jax.Array) -> jax.Array:
        """Part of the way from u_k to where it would be at rest."""
        if not self.adaptive:
            return rest if self.damping == 1 else self.u[k] + self.damping * (rest - self.u[k])
        share = 1 / (1 + self.curvature[k])
        return self.u[k] + share.reshape(*share.shape, *(1,) * (rest.ndim - 2)) * (rest - self.u[k])

    def look_up(self, k: int, moved: jax.Array) -> None:
        """a_{k+1}, and the curvature that a move of layer k has met in it."""
        before = self.a[k + 1]
        self.a[k + 1] = self.chain.drive(k + 1, self.leaves, self.h[k])
        if self.adaptive:
            turn = self.chain.state(k + 1, self.a[k + 1]) - self.chain.state(k + 1, before)
            length = _dot(moved, moved)
            met = _dot(self.a[k + 1] - before, turn) / jnp.where(length > 0, length, 1)
            self.curvature[k] = jnp.maximum(self.curvature[k], met)

    def measure(self) -> tuple[jax.Array, jax.Array]:
        """Energy and residual of every layer."""
        energies, residuals = [], []
        for k in range(len(self.chain)):
            act = None if k == self.chain.last else self.chain.activation
            energies.append(jnp.sum(divergence(act, self.a[k], self.u[k])))
            back = self.feedback(k)
            slope = self.u[k] - self.a[k] - (jnp.zeros_like(self.u[k]) if back is None else back)
            driven = k == self.chain.last
            residuals.append(jnp.zeros_like(energies[k]) if driven else jnp.linalg.norm(slope))
        return jnp.stack(energies), jnp.stack(residuals)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """[S, N]: the inner product over all further axes."""
    return jnp.sum(x * y, axis=tuple(range(2, x.ndim)))
