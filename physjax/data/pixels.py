"""The pixels that models get: their shape, their border, their statistics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from physjax.data.types import DataError, Split

SIDE = 32
"""Height and width of the images of all data sets but one's own."""


def to_rgb(images_NHWC: npt.NDArray[np.uint8], side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Images as the models get them, [N, side, side, 3].

    Smaller ones get a black border, evenly; where that is odd, the row below and the column on the
    right are the wider ones. A grey channel becomes three equal ones.

    Raises:
      DataError: images larger than that, or neither 1 nor 3 channels.
    """
    _, height, width, channels = images_NHWC.shape
    if max(height, width) > side:
        raise DataError(too_large(height, width, side))
    if channels not in (1, 3):
        raise DataError(f"images have {channels} channels, but must have 1 or 3")
    if (height, width) != (side, side):
        rows, columns = side - height, side - width
        border = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
        images_NHWC = np.pad(images_NHWC, ((0, 0), *border, (0, 0)))
    return images_NHWC if channels == 3 else np.repeat(images_NHWC, 3, axis=-1)


def too_large(height: int, width: int, side: int) -> str:
    """What is said of images that no border can make of that side."""
    return (
        f"images of {height}x{width} pixels are larger than the {side}x{side} that models get; "
        "make them smaller first, e.g. with physjax.data.images.resize"
    )


def channel_statistics(
    images_NHWC: npt.NDArray[np.uint8],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each of three channels, pixels in [0, 1]; exact sums."""
    return statistics_of(channel_counts(images_NHWC))


def channel_counts(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """int64 [3, 256]: how many pixels of each channel have each value. They add up over images."""
    return np.stack([np.bincount(images_NHWC[..., c].ravel(), minlength=256) for c in range(3)])


def statistics_of(
    counts: npt.NDArray[np.int64],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """As :func:`channel_statistics`, of what :func:`channel_counts` gives."""
    values = np.arange(256) / 255
    means = [float(np.average(values, weights=n)) for n in counts]
    deviations = [
        float(np.sqrt(np.average((values - mean) ** 2, weights=n)))
        for n, mean in zip(counts, means, strict=True)
    ]
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def check_split(split: Split, count: int, num_classes: int, what: str, side: int = SIDE) -> Split:
    """The split, if it is what the rest of the package relies on.

    Raises:
      DataError: shapes, types, the number of images or the range of labels are other ones.
    """
    images, labels = split.images, split.labels
    if images.shape != (count, side, side, 3) or images.dtype != np.uint8:
        raise DataError(
            f"{what} are {images.dtype} {list(images.shape)}, "
            f"not uint8 [{count}, {side}, {side}, 3]"
        )
    if labels.shape != (count,) or labels.dtype != np.int32:
        raise DataError(f"labels of {what} are {labels.dtype} {list(labels.shape)}, not [{count}]")
    if count and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"labels of {what} go from {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}"
        )
    return split
