"""Draws ring.png: the channels of a layer on a ring, and the force on one of them.

python docs/figures/ring.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

CHANNELS = 12
HERE = 2
"""The channel whose neighbours are shown."""
SHADE, OWN, NEIGHBOR = "#d5dae1", "#c44e52", "#4c72b0"


def main() -> None:
    fig, ax = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
    # Channel 0 at the top, then clockwise.
    angles = np.pi / 2 - 2 * np.pi * np.arange(CHANNELS) / CHANNELS
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    circle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(circle), np.sin(circle), color=SHADE, linewidth=2, zorder=1)
    neighbors = {(HERE - 1) % CHANNELS, (HERE + 1) % CHANNELS}
    for channel, (x, y) in enumerate(points):
        color = OWN if channel == HERE else NEIGHBOR if channel in neighbors else SHADE
        ax.scatter(x, y, s=900, color=color, zorder=3)
        ax.text(
            x,
            y,
            str(channel),
            ha="center",
            va="center",
            zorder=4,
            color="black" if color == SHADE else "white",
        )
    for channel in neighbors:
        ax.annotate(
            "",
            points[HERE] * 0.9,
            points[channel] * 0.9,
            arrowprops={
                "arrowstyle": "-|>",
                "color": NEIGHBOR,
                "linewidth": 2,
                "shrinkA": 14,
                "shrinkB": 16,
                "connectionstyle": "arc3,rad=" + ("0.35" if channel > HERE else "-0.35"),
            },
            zorder=2,
        )
        side = points[channel] * 0.7
        ax.text(*side, f"$f_{{{channel}}}$", ha="center", va="center", color=NEIGHBOR, size=13)
    ax.text(
        0,
        -0.1,
        f"$y_{{{HERE}}} \\leftarrow y_{{{HERE}}} + s\\,(f_{{{HERE - 1}}} + f_{{{HERE + 1}}})$",
        ha="center",
        size=15,
    )
    ax.text(0, -0.3, f"{CHANNELS} output channels of one convolution", ha="center", size=10)
    ax.set_aspect("equal")
    ax.set_xlim(-1.2, 1.2)
    ax.set_ylim(-1.2, 1.2)
    ax.axis("off")
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
