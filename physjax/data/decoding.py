"""Many images decoded at once, and what is said where some of them are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from physjax.data.images import ImageError, quiet
from physjax.data.types import DataError

_NAMED = 3
"""Damaged images that a message names."""


def decode_all(
    jobs: Sequence[Callable[[], npt.NDArray[np.uint8]]], side: int
) -> npt.NDArray[np.uint8]:
    """What the jobs give, uint8 [side, side, 3] each, in their order: [N, side, side, 3].

    Raises:
      DataError: some images cannot be read; the first ones are named. Or there is no memory.
    """
    errors: dict[int, ImageError] = {}
    try:
        images = np.empty((len(jobs), side, side, 3), np.uint8)
    except MemoryError as error:
        raise DataError(
            f"there is no memory for {len(jobs):,} images of {side}x{side} pixels; choose a "
            "smaller --image-size"
        ) from error

    def work(index: int) -> None:
        try:
            images[index] = jobs[index]()
        except ImageError as error:
            errors[index] = error

    # Pillow lets go of Python's lock while it decodes and resizes.
    with quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(work, range(len(jobs))):
            pass
    if errors:
        first = [str(errors[index]) for index in sorted(errors)[:_NAMED]]
        more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
        what = "it" if len(errors) == 1 else "them"
        raise DataError(f"{'; '.join(first)}{more}. Mend {what}, or take {what} out of the folder")
    return images
