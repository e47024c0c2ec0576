"""Draws augmentations.png: sixteen training images, as RandAugment, mixup and CutMix leave them.

python docs/figures/augmentations.py --data-dir D
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import tyro

from physjax.config import AugmentConfig, DataConfig
from physjax.data import augment, load, mixing

COUNT, SEED = 16, 0
PANELS = {
    "unchanged": {},
    "randaugment 9": {"randaugment": 9},
    "mixup 0.2": {"mixup": 0.2},
    "cutmix 1": {"cutmix": 1.0},
}
PLAIN = {"crop": "none", "mirror": False, "cutout": 0}


def main(dataset: str = "cifar10", data_dir: str | None = None) -> None:
    """Draw the figure.

    Args:
      dataset: whose images; the first training images of it.
      data_dir: its TFDS folder.
    """
    found = load(DataConfig(dataset=dataset, data_dir=data_dir))
    images = jnp.asarray(np.asarray(found.train.images[:COUNT]))
    names = [found.info.class_names[label] for label in found.train.labels[:COUNT]]
    fig, axes = plt.subplots(len(PANELS), COUNT, figsize=(16, 5.8), layout="constrained")
    for row, (title, fields) in zip(axes, PANELS.items(), strict=True):
        config = AugmentConfig(**{**PLAIN, **fields})
        pixels, share = change(images, config)
        row[0].set_ylabel(title, size=11)
        for i, ax in enumerate(row):
            ax.imshow(pixels[i], interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            text = (
                names[i]
                if share == 1
                else f"{share:.2f} {names[i]}\n{1 - share:.2f} {names[i ^ 1]}"
            )
            ax.set_title(text, size=8)
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=80)


def change(images: jax.Array, config: AugmentConfig) -> tuple[np.ndarray, float]:
    """Images in [0, 1], and how much of each is its own."""
    size, key = images.shape[1], jax.random.key(SEED)
    drawn = augment.draw(key, COUNT, config, size, size, mirror=False)
    pixels, share = augment.apply(drawn, images, config, size, (0.0,) * 3, (1.0,) * 3), 1.0
    if mixing.mixes(config):
        mixed = mixing.draw(key, COUNT, config, size)
        pixels, share = mixing.apply(mixed, pixels), float(mixed["share"][0])
    return np.clip(np.asarray(pixels), 0, 1), share


if __name__ == "__main__":
    tyro.cli(main)
