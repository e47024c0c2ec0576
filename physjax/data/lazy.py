"""Images that are decoded when they are asked for: what a split holds that is not in memory."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from physjax.data.decoding import decode_all

Pixels = npt.NDArray[np.uint8]


class Reader(Protocol):
    """Where images come from, one at a time, in any order and from several threads.

    It is sent to worker processes: pickled it must be small beside the images.
    """

    def __len__(self) -> int: ...

    def read(self, index: int) -> Pixels:
        """The image of that number, uint8 [S, S, 3].

        To be called inside `physjax.data.images.quiet`. Raises ImageError, which names the image.
        """
        ...


class LazyImages:
    """uint8 [N, S, S, 3], like an array that is only read: what is indexed is decoded.

    Args:
      reader: of all images.
      side: S, in pixels.
      rows: numbers of the images that belong to it, in order; None: all.
    """

    ndim = 4
    dtype = np.dtype(np.uint8)

    def __init__(
        self, reader: Reader, side: int, rows: npt.NDArray[np.integer] | None = None
    ) -> None:
        self._reader, self._side = reader, side
        self._rows = np.arange(len(reader)) if rows is None else np.asarray(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, S, S, 3)."""
        return len(self), self._side, self._side, 3

    def take(self, indices: npt.NDArray[np.integer], axis: int = 0) -> LazyImages:
        """Those images, decoded no more than these."""
        assert axis == 0
        return LazyImages(self._reader, self._side, self._rows[indices])

    def __getitem__(self, key: Any) -> Pixels:
        """Decoded: one image [S, S, 3] for a number; for a slice or an array of indices several.

        Raises DataError, which names the images that cannot be read.
        """
        rows = self._rows[key]
        jobs = [partial(self._reader.read, int(row)) for row in np.atleast_1d(rows)]
        images = decode_all(jobs, self._side)
        return images if np.ndim(rows) else images[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def decode(self, indices: npt.NDArray[np.integer]) -> Pixels:
        """As indexing does, in this thread alone, and inside the caller's `quiet`.

        Raises ImageError for the first image that cannot be read.
        """
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        for place, row in enumerate(self._rows[indices]):
            images[place] = self._reader.read(int(row))
        return images


Images = Pixels | LazyImages
"""What a split holds: decoded, or to be decoded."""
