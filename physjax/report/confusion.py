"""The confusion matrix, for everything that draws one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter


def plot_confusion(axes: Axes, confusion: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Draw how many images of each class (row) were taken for which (column).

    `confusion` holds counts [K][K], `names` the K classes; colours and numbers are shares of a row.
    """
    counts = np.array(confusion)
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.grid(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    # A hundred classes leave no room for numbers.
    if len(names) <= 20:
        for i, j in np.ndindex(counts.shape):
            dark = share[i, j] > 0.5
            text = f"{share[i, j]:.0%}" if counts[i, j] else ""
            axes.text(j, i, text, ha="center", va="center", size=8, color="w" if dark else "k")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    bar.set_label("share of the true class's test images")
