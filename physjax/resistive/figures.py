"""Pictures of networks and of trainings. The only file of the library that loads matplotlib."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from physjax import files
from physjax.resistive.network import Graph, Network
from physjax.resistive.solve import clamped_state, free_state
from physjax.resistive.tasks import Task
from physjax.resistive.train import Record


def positions(graph: Graph) -> NDArray[np.float64]:
    """Where to draw the nodes, shape (N, 2): the graph's own places, or a spring layout."""
    if graph.positions is not None:
        return graph.positions
    drawn = nx.Graph(graph.edges.tolist())
    drawn.add_nodes_from(range(graph.num_nodes))
    layout = nx.spring_layout(drawn, seed=0)
    return np.array([layout[node] for node in range(graph.num_nodes)])


def draw_network(
    axes: Axes,
    net: Network,
    voltages: NDArray[np.float64],
    sources: tuple[int, ...] = (),
    outputs: tuple[int, ...] = (),
    title: str = "",
) -> None:
    """Voltages as node colours, conductances as line widths; squares are sources, diamonds outputs.

    Args:
      voltages: one per node, shape (N,).
    """
    place = positions(net.graph)
    k = np.asarray(net.effective)
    widths = np.where(k > 0, 0.3 + 5 * np.sqrt(k / k.max()), 0.0)
    segments = list(place[net.graph.edges])
    axes.add_collection(LineCollection(segments, linewidths=widths, colors="0.6", zorder=1))
    inner = sorted(set(range(net.graph.num_nodes)) - set(sources) - set(outputs))
    size = float(np.clip(4000 / net.graph.num_nodes, 8, 160))
    for nodes, marker in ((inner, "o"), (list(sources), "s"), (list(outputs), "D")):
        points = axes.scatter(
            place[nodes, 0],
            place[nodes, 1],
            c=voltages[nodes],
            marker=marker,
            s=size if marker == "o" else 1.4 * size,
            cmap="viridis",
            vmin=float(voltages.min()),
            vmax=float(voltages.max()),
            edgecolors="black" if marker != "o" else "none",
            zorder=2,
        )
    axes.figure.colorbar(points, ax=axes, shrink=0.7, label="volts")
    axes.set(title=title, aspect="equal")
    axes.axis("off")


def draw_states(before: Network, after: Network, task: Task, eta: float = 1.0) -> Figure:
    """Free and clamped state of the first training example, before and after the training."""
    sources = {n: float(v) for n, v in zip(task.sources, task.inputs[0], strict=True)}
    targets = {n: float(v) for n, v in zip(task.outputs, task.targets[0], strict=True)}
    figure = Figure(figsize=(9, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (when, net) in enumerate((("before", before), ("after", after))):
        free, clamped = free_state(net, sources), clamped_state(net, sources, targets, eta)
        for column, (what, volts) in enumerate((("free", free), ("clamped", clamped))):
            title = f"{what} state, {when} training"
            draw_network(axes[row, column], net, volts, task.sources, task.outputs, title)
    return figure


def draw_course(record: Record, title: str = "") -> Figure:
    """Squared error of every network, and resistances of the first, against steps."""
    errors = np.atleast_2d(record.squared_error)
    resistances = record.resistances if record.resistances.ndim == 2 else record.resistances[0]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(record.steps, np.maximum(errors, 1e-32).T, color="C0", alpha=0.3, lw=0.8)
    left.semilogy(record.steps, np.median(np.maximum(errors, 1e-32), axis=0), "k", label="median")
    left.set(xlabel="update", ylabel="squared error (V²)", title=title)
    left.legend()
    right.semilogy(record.steps, resistances[:, :60], lw=0.8)
    right.set(xlabel="update", ylabel="resistance (Ω)", title="edges of one network")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, making the folder."""
    with files.atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=90)
