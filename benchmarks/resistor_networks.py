"""Updates per second of resistor networks, compared with a SciPy loop, interleaved in one run.

    python benchmarks/resistor_networks.py --json results/benchmarks/resistor_networks.json \\
        --figure docs/figures/resistive_scaling.png

The baseline does what a careful SciPy user would: the sparsity pattern is built once, a step fills
in the conductances, and the free and the clamped system are factored with `splu` (minimum-degree
order, symmetric mode) and solved. Both sides do the same update on the same network and task, and
their conductances are compared at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from harness.measuring import announce, write
from physjax import plotting, resistive
from physjax.resistive.linear_system import linear_system

Floats = NDArray[np.float64]
ALPHA, ETA = 0.5, 1e-3
RULE = resistive.ConductanceRule(ALPHA, ETA)


@dataclass(frozen=True)
class Case:
    """A network size; `seeds` networks are trained side by side, for `steps` updates each."""

    graph: resistive.Graph
    seeds: int
    steps: int
    baseline_steps: int


CASES = (
    Case(resistive.wheel(9), 1024, 200, 300),
    Case(resistive.square_lattice(6, 21), 256, 60, 200),
    Case(resistive.disordered(100, 225, 0), 64, 60, 200),
    Case(resistive.square_lattice(37, 69), 1, 60, 30),
    Case(resistive.square_lattice(205, 245), 1, 10, 2),
)


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write it."""

    json: Path | None = None
    figure: Path | None = None
    rounds: int = 3
    """Interleaved rounds; the ratio is the median of the rounds' ratios."""


class PlainLoop:
    """The SciPy baseline for one network: free and clamped state, each its own factorisation."""

    def __init__(self, graph: resistive.Graph, task: resistive.Examples) -> None:
        self.tail, self.head = graph.edges.T
        self.num_nodes = graph.num_nodes
        self.sources, self.outputs = list(task.sources), list(task.outputs)
        self.inputs, self.targets = task.inputs[0], task.targets[0]
        self.free = self._pattern(self.sources)
        self.clamped = self._pattern(self.sources + self.outputs)

    def _pattern(self, held: list[int]) -> dict[str, Any]:
        free = np.setdiff1d(np.arange(self.num_nodes), held)
        place = np.full(self.num_nodes, -1)
        place[free] = np.arange(len(free))
        a, b = place[self.tail], place[self.head]
        row, column = np.r_[a, b, a, b], np.r_[a, b, b, a]
        sign = np.repeat([1.0, 1.0, -1.0, -1.0], len(a))
        inside = np.flatnonzero((row >= 0) & (column >= 0))
        code, slot = np.unique(column[inside] * len(free) + row[inside], return_inverse=True)
        pointer = np.r_[0, np.cumsum(np.bincount(code // len(free), minlength=len(free)))]
        return {
            "free": free,
            "edge": inside % len(a),
            "sign": sign[inside],
            "slot": slot,
            "indices": (code % len(free)).astype(np.int32),
            "pointer": pointer.astype(np.int32),
            "border": np.flatnonzero((a >= 0) != (b >= 0)),
        }

    def _solve(self, pattern: dict[str, Any], k: Floats, voltages: Floats) -> Floats:
        n = len(pattern["free"])
        data = np.bincount(pattern["slot"], pattern["sign"] * k[pattern["edge"]])
        matrix = csc_array((data, pattern["indices"], pattern["pointer"]), shape=(n, n))
        border, known = pattern["border"], voltages.copy()
        known[pattern["free"]] = 0.0
        flow = k[border] * (known[self.tail[border]] + known[self.head[border]])
        rhs = np.bincount(self.tail[border], flow, self.num_nodes)
        rhs += np.bincount(self.head[border], flow, self.num_nodes)
        factors = splu(
            matrix,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        known[pattern["free"]] = factors.solve(rhs[pattern["free"]])
        return known

    def run(self, k: Floats, steps: int) -> Floats:
        for _ in range(steps):
            held = np.zeros(self.num_nodes)
            held[self.sources] = self.inputs
            free = self._solve(self.free, k, held)
            held[self.outputs] = free[self.outputs] + ETA * (self.targets - free[self.outputs])
            clamped = self._solve(self.clamped, k, held)
            free_drops = free[self.tail] - free[self.head]
            clamped_drops = clamped[self.tail] - clamped[self.head]
            k = np.clip(k - ALPHA / ETA * (clamped_drops**2 - free_drops**2), 1e-6, 1e6)
        return k


def measure(case: Case, rounds: int) -> dict[str, Any]:
    graph, last = case.graph, case.graph.num_nodes - 1
    task = resistive.allostery(
        (0, last - last // 4), (last // 3, 2 * last // 3), targets=(0.3, 0.6)
    )
    nets = [
        resistive.network(graph, resistive.random_conductances(graph, seed, 0.5, 2.0))
        for seed in range(case.seeds)
    ]
    loop = PlainLoop(graph, task)
    options = resistive.TrainOptions(steps=case.steps, history_points=1)

    def ours(count: int) -> tuple[float, Floats]:
        start = time.perf_counter()
        after, _ = resistive.train_many(nets[:count], task, RULE, options)
        return time.perf_counter() - start, after[0].conductances

    # Compile every variant first; and the answer must be the loop's.
    compile_seconds, _ = ours(case.seeds)
    ours(1)
    agreed = min(case.steps, 5)
    after, _ = resistive.train(nets[0], task, RULE, replace(options, steps=agreed))
    expected = loop.run(np.asarray(nets[0].conductances), agreed)
    difference = float(np.abs(after.conductances / expected - 1).max())
    times: dict[str, list[float]] = {"plain": [], "one": [], "batched": []}
    for _ in range(rounds):
        start = time.perf_counter()
        loop.run(np.asarray(nets[0].conductances), case.baseline_steps)
        times["plain"].append((time.perf_counter() - start) / case.baseline_steps)
        times["one"].append(ours(1)[0] / case.steps)
        seconds = ours(case.seeds)[0] if case.seeds > 1 else times["one"][-1] * case.steps
        times["batched"].append(seconds / case.steps / case.seeds)
    plain, one, batched = (np.array(times[name]) for name in ("plain", "one", "batched"))
    return {
        "nodes": graph.num_nodes,
        "edges": graph.num_edges,
        "method": linear_system(graph, task.sources, task.outputs, stacked=case.seeds > 1).method,
        "seeds": case.seeds,
        "plain_updates_per_second": float(1 / np.median(plain)),
        "single_updates_per_second": float(1 / np.median(one)),
        "updates_per_second": float(1 / np.median(batched)),
        "ratio_single": float(np.median(plain / one)),
        "ratio": float(np.median(plain / batched)),
        "relative_difference_after_5_steps": difference,
        "first_call_seconds": compile_seconds,
    }


def slope(rows: list[dict[str, Any]], key: str) -> float:
    """Exponent p of seconds per update ~ edges^p, fitted to the logarithms."""
    edges = np.log([row["edges"] for row in rows])
    return float(np.polyfit(edges, -np.log([row[key] for row in rows]), 1)[0])


def draw(rows: list[dict[str, Any]], slopes: dict[str, float], path: Path) -> None:
    """Seconds per update against edges, as PNG."""
    labels = {
        "plain_updates_per_second": "NumPy/SciPy loop, splu",
        "single_updates_per_second": "physjax.resistive, one network",
        "updates_per_second": "physjax.resistive, networks side by side",
    }
    styles = plotting.series_styles(list(labels))
    with plotting.figure(path.with_suffix(""), 6.5, 4.5) as fig:
        axes = fig.subplots()
        for key, label in labels.items():
            axes.loglog(
                [row["edges"] for row in rows],
                [1 / row[key] for row in rows],
                **styles[key] | {"linestyle": "", "markersize": 8},
                # Hollow: where one network is all there is, two series have the same point.
                markerfacecolor="none",
                label=f"{label}: slope {slopes[key]:.2f}",
            )
        axes.set(xlabel="edges", ylabel="seconds per update")
        axes.legend(fontsize="small")


def main(options: Options) -> None:
    facts = announce()
    rows = []
    for case in CASES:
        row = measure(case, options.rounds)
        rows.append(row)
        print(
            f"{row['edges']:7} edges, {row['method']:8} "
            f"plain {row['plain_updates_per_second']:9.1f}/s  "
            f"one {row['single_updates_per_second']:9.1f}/s ({row['ratio_single']:.1f}x)  "
            f"{row['seeds']} at once {row['updates_per_second']:10.1f}/s ({row['ratio']:.1f}x)  "
            f"differ by {row['relative_difference_after_5_steps']:.0e}",
            flush=True,
        )
    keys = ("plain_updates_per_second", "single_updates_per_second", "updates_per_second")
    slopes = {key: slope(rows, key) for key in keys}
    print("seconds per update ~ edges^p, p =", {k: round(v, 2) for k, v in slopes.items()})
    if options.figure:
        draw(rows, slopes, options.figure)
    record = {"machine": facts, "rounds": options.rounds, "slopes": slopes, "cases": rows}
    write(options.json, record)


if __name__ == "__main__":
    main(tyro.cli(Options))
