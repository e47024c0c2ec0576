"""Figures of trained layered networks: what `physjax resistive --figures` draws of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from physjax.plotting import COLORS
from physjax.resistive.layered.runner import LayeredRecord, LayeredRun
from physjax.resistive.layered.settling import layered_state

TITLES = {"diodes": "with diodes", "layers": "without diodes"}
"""Of the networks."""
KERNELS_DRAWN = 24
"""Hidden nodes whose conductances to the image are drawn."""


def plot_history(run: LayeredRun, fig: Figure) -> None:
    """Squared error of every network in the course of its training."""
    axes = fig.subplots()
    errors = np.stack([history.squared_error for history in run.histories])
    steps = run.histories[0].steps
    count = len(errors)
    labels = ["each network"] + ["_"] * (count - 1)  # one entry in the legend
    axes.semilogy(steps, errors.T, color=COLORS[0], alpha=0.4, lw=0.9, label=labels)
    if count > 1:
        axes.semilogy(steps, np.median(errors, axis=0), "k", label="median")
        axes.legend()
    axes.set(xlabel="update", ylabel="squared error of training examples (V²)")
    fig.suptitle(_heading(run.record), wrap=True)


def plot_network(run: LayeredRun, fig: Figure) -> None:
    """What the first network tells of two inputs, or how its nodes look at an image."""
    if run.after[0].sizes[0] == 4:
        _draw_plane(run, fig)
    else:
        _draw_kernels(run, fig)
    fig.suptitle(f"{_heading(run.record)}: seed 0", wrap=True)


def _draw_plane(run: LayeredRun, fig: Figure) -> None:
    fig.set_size_inches(5.6, 4.8)
    net, examples = run.after[0], run.examples[0]
    side = np.linspace(-1.5, 1.5, 81)
    plane = np.stack(np.meshgrid(side, side), axis=-1)
    outputs = layered_state(net, plane.reshape(-1, 2), tolerance=1e-8)[-1]
    difference = (outputs[:, 1] - outputs[:, 0]).reshape(81, 81)
    axes = fig.subplots()
    # At least as far as the targets are apart, so that nothing looks like nothing.
    limit = max(1.0, float(np.abs(difference).max()))
    shades = axes.pcolormesh(side, side, difference, cmap="RdBu_r", vmin=-limit, vmax=limit)
    if np.ptp(difference) > 1e-3:
        axes.contour(side, side, difference, levels=[0.0], colors="black")
    fig.colorbar(shades, ax=axes, label="output “true” − output “false” (V)")
    assert examples.labels is not None
    for value, marker in ((0, "o"), (1, "s")):
        x = examples.inputs[examples.labels == value]
        axes.scatter(x[:, 0], x[:, 1], marker=marker, s=90, c="white", edgecolors="black", zorder=3)
    axes.set(xlabel="input a", ylabel="input b", aspect="equal")
    axes.set_title("squares shall be true, circles false", fontsize=10)
    axes.grid(visible=False)


def _draw_kernels(run: LayeredRun, fig: Figure) -> None:
    fig.set_size_inches(8.0, 4.6)
    first = run.after[0].conductances[0]
    pixels, nodes = first.shape[0] // 2, first.shape[1]
    weights = first[:pixels] - first[pixels:]
    # Some of the nodes at v >= 0, which come first, and as many of those at v <= 0.
    half, some = (nodes + 1) // 2, min(KERNELS_DRAWN // 2, nodes // 2)
    chosen = [*range(some), *range(half, half + some)]
    side = int(np.sqrt(pixels))
    limit = float(np.abs(weights[:, chosen]).max())
    grid = fig.subplots(4, -(-len(chosen) // 4), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, node in zip(grid.flat, chosen, strict=False):
        image = weights[:, node].reshape(side, side)
        shades = axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    label = "conductance to the pixel − to its negative (S)"
    fig.colorbar(shades, ax=grid, label=label, shrink=0.9)
    if run.after[0].diodes:
        fig.supxlabel("upper half: nodes held at v ≥ 0; lower half: at v ≤ 0", fontsize=10)


FIGURES: dict[str, Callable[[LayeredRun, Figure], None]] = {
    "history": plot_history,
    "network": plot_network,
}
"""By the end of the file's name."""


def _heading(record: LayeredRecord) -> str:
    sizes = "-".join(map(str, record.sizes))
    return (
        f"{record.task}, layers of {sizes} nodes {TITLES[record.network]}, equilibrium propagation"
    )
