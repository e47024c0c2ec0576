"""Figures of networks and of trainings. The only file of the library that loads matplotlib.

One that belongs to every preset is a function of a finished run and a figure, and a line in
`FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from physjax.plotting import COLORS
from physjax.resistive.examples import Examples
from physjax.resistive.network import Floats, Graph, Network
from physjax.resistive.runner import PresetRecord, PresetRun
from physjax.resistive.states import clamped_state, free_state
from physjax.resistive.train import TrainingHistory

ERROR_FLOOR = 1e-32
"""Squared errors are drawn no lower, in volts squared: a float64 voltage of 1 V has no less."""
EDGES_DRAWN = 60
"""Edges whose resistances are drawn; more could not be told apart."""


def node_positions(graph: Graph) -> Floats:
    """Where to draw the nodes: the graph's own positions, or a spring layout.

    Args:
      graph: nodes and edges.

    Returns:
      Positions, [N, 2].
    """
    if graph.positions is not None:
        return graph.positions
    twin = nx.Graph(graph.edges.tolist())
    twin.add_nodes_from(range(graph.num_nodes))
    layout = nx.spring_layout(twin, seed=0)
    return np.array([layout[node] for node in range(graph.num_nodes)])


def draw_network(
    axes: Axes,
    net: Network,
    voltages: Floats,
    sources: tuple[int, ...] = (),
    outputs: tuple[int, ...] = (),
    title: str = "",
) -> None:
    """Voltages as node colours, conductances as line widths; squares are sources, diamonds outputs.

    Args:
      axes: where to draw.
      net: one network.
      voltages: of the nodes in volts, [N].
      sources: numbers of the source nodes.
      outputs: numbers of the output nodes.
      title: of the axes.
    """
    positions = node_positions(net.graph)
    k = np.asarray(net.effective)
    widths = np.where(k > 0, 0.3 + 5 * np.sqrt(k / k.max()), 0.0)
    segments = list(positions[net.graph.edges])
    axes.add_collection(LineCollection(segments, linewidths=widths, colors="0.6", zorder=1))
    inner = sorted(set(range(net.graph.num_nodes)) - set(sources) - set(outputs))
    size = float(np.clip(4000 / net.graph.num_nodes, 8, 160))
    for nodes, marker in ((inner, "o"), (list(sources), "s"), (list(outputs), "D")):
        points = axes.scatter(
            positions[nodes, 0],
            positions[nodes, 1],
            c=voltages[nodes],
            marker=marker,
            s=size if marker == "o" else 1.4 * size,
            cmap="viridis",
            vmin=float(voltages.min()),
            vmax=float(voltages.max()),
            edgecolors="black" if marker != "o" else "none",
            zorder=2,
        )
    axes.figure.colorbar(points, ax=axes, shrink=0.7, label="voltage (V)")
    axes.set(title=title, aspect="equal")
    axes.axis("off")


def draw_states(
    fig: Figure, before: Network, after: Network, examples: Examples, eta: float = 1.0
) -> None:
    """Free and clamped state of the first training example, before and after the training.

    Args:
      fig: where to draw, about 9 by 8 inches.
      before: one network, untrained.
      after: the same one, trained.
      examples: what it learned.
      eta: nudge amplitude of the clamped state in (0, 1].
    """
    sources = dict(zip(examples.sources, examples.inputs[0].tolist(), strict=True))
    targets = dict(zip(examples.outputs, examples.targets[0].tolist(), strict=True))
    axes = fig.subplots(2, 2)
    for row, (when, net) in enumerate((("before", before), ("after", after))):
        free, clamped = free_state(net, sources), clamped_state(net, sources, targets, eta)
        for column, (state, voltages) in enumerate((("free", free), ("clamped", clamped))):
            title = f"{state} state, {when} training"
            wiring = (examples.sources, examples.outputs)
            draw_network(axes[row, column], net, voltages, *wiring, title)


def draw_history(fig: Figure, history: TrainingHistory) -> None:
    """Squared error of every network, and resistances of the first, against updates.

    Args:
      fig: where to draw, about 10 by 4 inches.
      history: of one network, or of a stack.
    """
    errors = np.maximum(np.atleast_2d(history.squared_error), ERROR_FLOOR)
    stacked = history.resistances.ndim == 3
    resistances = history.resistances[0] if stacked else history.resistances
    left, right = fig.subplots(1, 2)
    count, edges = len(errors), resistances.shape[-1]
    if count > 1:
        labels = ["each network"] + ["_"] * (count - 1)  # one entry in the legend
        left.semilogy(history.steps, errors.T, color=COLORS[0], alpha=0.3, lw=0.8, label=labels)
        left.semilogy(history.steps, np.median(errors, axis=0), "k", label="median")
        left.legend()
    else:
        left.semilogy(history.steps, errors[0], color=COLORS[0])
    title = f"error of {count} network{'s' if count > 1 else ''}"
    if history.squared_error.min() < ERROR_FLOOR:
        title += f", none drawn below {ERROR_FLOOR:g} V²"
    left.set(xlabel="update", ylabel="squared error (V²)", title=title)
    right.semilogy(history.steps, resistances[:, :EDGES_DRAWN], lw=0.8)
    shown = f"{edges} edges" if edges <= EDGES_DRAWN else f"{EDGES_DRAWN} of {edges} edges"
    right.set(xlabel="update", ylabel="resistance (Ω)", title=f"{shown} of one network")


def plot_history(run: PresetRun, fig: Figure) -> None:
    """Errors and resistances in the course of a preset's training."""
    fig.set_size_inches(10.0, 4.0)
    draw_history(fig, run.history)
    fig.suptitle(_heading(run.record), wrap=True)


def plot_states(run: PresetRun, fig: Figure) -> None:
    """The first network of a preset, before and after its training."""
    fig.set_size_inches(9.0, 8.0)
    draw_states(fig, run.before[0], run.after[0], run.examples[0])
    fig.suptitle(f"{_heading(run.record)}: the first example", wrap=True)


FIGURES: dict[str, Callable[[PresetRun, Figure], None]] = {
    "history": plot_history,
    "network": plot_states,
}
"""What `physjax resistive --figures` draws, by the end of the file's name."""


def _heading(record: PresetRecord) -> str:
    batch = "" if record.batch is None else f", {record.batch} examples an update"
    cuts = f", {len(record.cut_edges)} edges cut" if record.cut_edges else ""
    return (
        f"{record.task}, {record.rule} rule, {record.edges} edges, {record.steps:,} updates"
        f"{batch}{cuts}"
    )
