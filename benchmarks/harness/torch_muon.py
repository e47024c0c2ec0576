"""Muon in PyTorch, the way of optax.contrib.muon, for kernels of convolutions too.

`torch.optim.Muon` takes matrices alone, and computes in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of a Newton-Schulz step X -> a X + (b A + c A A) X with A = X X^T."""


def orthogonalise(matrix: torch.Tensor, steps: int = 5, eps: float = 1e-8) -> torch.Tensor:
    """A matrix with the singular vectors of `matrix`, and singular values near 1.

    Keller Jordan, *Muon* (2024): Newton-Schulz steps, after division by the Frobenius norm.

    Args:
      matrix: [out, in].
      steps: of Newton-Schulz.
      eps: added to the norm.
    """
    a, b, c = COEFFICIENTS
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + eps)
    for _ in range(steps):
        product = x @ x.T
        x = a * x + (b * product + c * product @ product) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by Newton-Schulz steps.

    The moving average of the gradient is debiased, and each parameter, as a matrix [out, all else],
    moves by lr sqrt(max(1, out / in)) times the orthogonalised average, and by lr weight_decay
    times itself.

    Args:
      params: tensors of two or more axes, the first one that of the outputs.
      lr: learning rate.
      momentum: decay of the moving average.
      nesterov: look ahead by the momentum.
      weight_decay: decoupled from the gradient.
      steps: of Newton-Schulz.

    Raises:
      ValueError: a parameter with fewer than two axes.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        steps: int = 5,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nesterov": nesterov}
        super().__init__(params, {**defaults, "weight_decay": weight_decay, "steps": steps})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(
                        f"Muon moves matrices, and not a parameter of shape {tuple(p.shape)}"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            beta = group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {"count": 0, "average": torch.zeros_like(p)}
                state["count"] += 1
                count, average = state["count"], state["average"].lerp_(p.grad, 1 - beta)
                if group["nesterov"]:
                    ahead = average * (beta / (1 - beta ** (count + 1)))
                    update = ahead + p.grad * ((1 - beta) / (1 - beta**count))
                else:
                    update = average / (1 - beta**count)
                matrix = update.flatten(1)
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                moved = orthogonalise(matrix, group["steps"]).reshape(p.shape)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(moved, alpha=group["lr"] * scale)
