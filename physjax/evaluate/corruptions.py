"""Corrupted test images, in five growing severities, after Hendrycks & Dietterich.

*Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*, ICLR 2019
(arXiv:1903.12261) gives the idea and the five steps. The corruptions and their strengths are our
own choice for 32x32 images, so the figures do not compare with those of CIFAR-10-C.

Images are uint8 [N, S, S, 3]. The random numbers follow from the severity and a seed alone, so
every model is shown the same images.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from physjax.data.corrupted import SEVERITIES
from physjax.data.lazy import Images as Stored

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt images."""

    name: str
    quantity: str
    """What `strengths` measure, with the unit."""
    strengths: tuple[float, ...]
    """By severity, 1 to 5."""
    apply: Callable[[Images, float, Any], Images]
    """(images, strength, random numbers) -> corrupted images, a new array. The random numbers are
    those images' part of what `draw` gives; without one a generator, asked image after image."""
    draw: Callable[[np.random.Generator, int, int, float], npt.NDArray[np.integer]] | None = None
    """(random generator, number of images, their side, strength) -> [N, ...], some for each."""


def corrupt(images: Images, name: str, severity: int, seed: int = 0) -> Images:
    """`images` corrupted; the same at every call.

    Raises ValueError for a corruption that does not exist or a severity that is not 1 to 5.
    """
    if not len(images):
        return images
    (whole,) = corrupt_parts(images, name, severity, len(images), seed)
    return whole


def corrupt_parts(
    images: Stored, name: str, severity: int, at_once: int, seed: int = 0
) -> Iterator[Images]:
    """The same, so many images at a time: those that are streamed are never all in memory."""
    if name not in CORRUPTIONS:
        raise ValueError(f"there is no corruption {name!r}; they are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity!r}; it must be 1, 2, 3, 4 or 5")
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng([seed, severity, zlib.crc32(name.encode())])
    strength = corruption.strengths[severity - 1]
    drawn: Any = None
    if corruption.draw is not None:
        drawn = corruption.draw(rng, len(images), images.shape[1], strength)
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        yield corruption.apply(images[part], strength, rng if drawn is None else drawn[part])


def _to_bytes(pixels: npt.NDArray[np.number]) -> Images:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _noise(images: Images, sd: float, rng: np.random.Generator) -> Images:
    return _to_bytes(images + rng.normal(0.0, 255 * sd, images.shape).astype(np.float32))


def _blur(images: Images, sigma: float, rng: np.random.Generator) -> Images:
    del rng
    pixels = images.astype(np.float32)
    return _to_bytes(ndimage.gaussian_filter(pixels, (0, sigma, sigma, 0), mode="nearest"))


def _brighten(images: Images, amount: float, rng: np.random.Generator) -> Images:
    del rng
    return _to_bytes(images + np.float32(255 * amount))


def _flatten(images: Images, factor: float, rng: np.random.Generator) -> Images:
    del rng
    mean = images.mean((1, 2, 3), keepdims=True, dtype=np.float32)
    return _to_bytes(mean + np.float32(factor) * (images - mean))


def _jpeg(images: Images, quality: float, rng: np.random.Generator) -> Images:
    del rng
    corrupted = np.empty_like(images)
    for i, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(quality))
        corrupted[i] = np.asarray(Image.open(file))
    return corrupted


def _corners(rng: np.random.Generator, n: int, size: int, side: float) -> npt.NDArray[np.integer]:
    return rng.integers(0, size - int(side) + 1, (2, n)).T


def _occlude(images: Images, side: float, corners: npt.NDArray[np.integer]) -> Images:
    size = images.shape[1]
    inside = [
        (at[:, None] <= np.arange(size)) & (np.arange(size) < at[:, None] + side)
        for at in corners.T
    ]
    covered = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return np.where(covered, np.uint8(128), images)


def _directions(
    rng: np.random.Generator, n: int, size: int, pixels: float
) -> npt.NDArray[np.integer]:
    del size, pixels
    return np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[rng.integers(0, 4, n)]


def _shift(images: Images, pixels: float, directions: npt.NDArray[np.integer]) -> Images:
    n, size = images.shape[0], images.shape[1]
    # What comes in over the border repeats the border's pixels.
    rows, columns = (
        np.clip(np.arange(size) - int(pixels) * directions[:, i, None], 0, size - 1)
        for i in range(2)
    )
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


_ALL = (
    Corruption(
        "gaussian noise",
        "standard deviation, of the pixel range",
        (0.02, 0.04, 0.08, 0.12, 0.18),
        _noise,
    ),
    Corruption("blur", "Gaussian's sigma [pixels]", (0.4, 0.6, 0.8, 1.1, 1.5), _blur),
    Corruption("brightness", "added, of the pixel range", (0.05, 0.1, 0.2, 0.3, 0.4), _brighten),
    Corruption("contrast", "factor on contrast", (0.75, 0.5, 0.35, 0.2, 0.1), _flatten),
    Corruption("jpeg", "quality", (75, 50, 30, 15, 7), _jpeg),
    Corruption(
        "occlusion", "side of a grey square [pixels]", (4, 8, 12, 16, 20), _occlude, _corners
    ),
    Corruption(
        "shift", "distance, up, down, left or right [pixels]", (1, 2, 3, 5, 8), _shift, _directions
    ),
)

CORRUPTIONS: dict[str, Corruption] = {corruption.name: corruption for corruption in _ALL}
