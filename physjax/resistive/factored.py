"""Sparse factors kept from step to step, to precondition the network that has changed since.

A learning step changes every conductance a little. The Cholesky-like factors of an earlier network
therefore nearly invert the present one, and a few conjugate-gradient steps repair the difference:
factoring once costs some fifty solves, so this is many times faster than factoring every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csc_array, csr_array
from scipy.sparse.linalg import SuperLU, splu

SLOW_SOLVE = 16
"""Conjugate-gradient steps of one solve after which the factors are renewed."""
SPARE_STEPS = 40
"""Steps beyond two per solve, summed over solves, that cost as much as one factorisation."""
MAX_STEPS = 500
"""Steps with fresh factors after which the system counts as singular."""


class FactorCache:
    """Solves A(k) x = b for a fixed graph; the answer depends on k and b up to the tolerance only.

    Args:
      edges: free position of both ends of each edge, [E, 2]; n for held nodes.
      num_free: number of free nodes n.
    """

    def __init__(self, edges: NDArray[np.int64], num_free: int) -> None:
        self._n = num_free
        num_edges = len(edges)
        tail, head = edges.T
        row = np.concatenate([tail, head, tail, head])
        column = np.concatenate([tail, head, head, tail])
        edge = np.tile(np.arange(num_edges), 4)
        sign = np.repeat([1.0, 1.0, -1.0, -1.0], num_edges)
        keep = (row < num_free) & (column < num_free)
        position, entry = np.unique(column[keep] * num_free + row[keep], return_inverse=True)
        # data = scatter @ k: the entries of A, column by column, as sums of conductances.
        self._scatter = csr_array(
            coo_array((sign[keep], (entry, edge[keep])), shape=(len(position), num_edges))
        )
        self._indices = (position % num_free).astype(np.int32)
        counts = np.bincount(position // num_free, minlength=num_free)
        self._indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._factors: SuperLU | None = None
        self._spent = 0

    def solve(
        self, effective: ArrayLike, rhs: ArrayLike, guess: ArrayLike, tolerance: float
    ) -> NDArray[np.floating]:
        """Voltages x with norm(b - A x) <= tolerance * norm(b) in every column.

        Args:
          effective: conductances in siemens, [E], 0 on cut edges.
          rhs: currents b into the free nodes in amperes, [n, m].
          guess: where to start, in volts, [n, m].
          tolerance: relative residual at which to stop.

        Returns:
          x in volts, [n, m].

        Raises:
          RuntimeError: (SciPy's) for a singular system.
          FloatingPointError: when fresh factors do not reach the tolerance, or the square of a
            current is no float64.
        """
        # Conductances that are too far apart overflow here. NumPy's warning would tell the user
        # nothing: what is not finite reaches no tolerance, and ends in an error of ours.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._solve(np.asarray(effective), np.asarray(rhs), guess, tolerance)

    def _solve(
        self, effective: NDArray, b: NDArray, guess: ArrayLike, tolerance: float
    ) -> NDArray[np.floating]:
        x = np.array(guess, dtype=np.float64, order="F")
        data = self._scatter @ effective.astype(np.float64)
        matrix = csc_array((data, self._indices, self._indptr), shape=(self._n, self._n))
        # A is symmetric: the same arrays read by rows multiply faster.
        by_row = csr_array((data, self._indices, self._indptr), shape=(self._n, self._n))
        limit = tolerance * np.linalg.norm(b, axis=0)
        if not np.isfinite(limit).all():  # anything would be within it
            raise FloatingPointError("the square of a current is no float64")
        fresh = self._factors is None or self._spent > SPARE_STEPS
        for attempt in range(2):
            if fresh or attempt:
                if not np.isfinite(x).all():  # old factors may have led it astray
                    x[:] = 0.0
                self._factors = _factor(matrix)
                self._spent = 0
            steps = self._iterate(by_row, b, x, limit, SLOW_SOLVE if not attempt else MAX_STEPS)
            if steps is not None:
                self._spent += max(0, steps - 2)
                return np.ascontiguousarray(x, dtype=b.dtype)
        raise FloatingPointError(
            f"no voltages with a relative residual below {tolerance:g}: conductances between "
            f"{np.min(effective):g} and {np.max(effective):g} are too far apart"
        )

    def _iterate(
        self, matrix: csr_array, b: NDArray, x: NDArray, limit: NDArray, max_steps: int
    ) -> int | None:
        """Preconditioned conjugate gradients, in place: the number of steps, None if too many."""
        assert self._factors is not None
        r = b - matrix @ x
        p, rz = np.zeros_like(x), np.ones(x.shape[1])
        for step in range(max_steps + 1):
            if (np.linalg.norm(r, axis=0) <= limit).all():
                return step
            z = self._factors.solve(np.asfortranarray(r))
            rz_next = np.einsum("nm,nm->m", r, z)
            p = z + (rz_next / rz if step else 0.0) * p
            rz = np.maximum(rz_next, np.finfo(np.float64).tiny)
            ap = matrix @ p
            size = rz_next / np.maximum(np.einsum("nm,nm->m", p, ap), np.finfo(np.float64).tiny)
            x += size * p
            r = r - size * ap
        return None


def _factor(matrix: csc_array) -> SuperLU:
    """Factors of a symmetric positive definite matrix: ordered by minimum degree, no pivoting."""
    return splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
