"""A run in its folder, and the network that it trained, read where they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from physjax import runtime
from physjax.config import Config
from physjax.data import Dataset, DatasetInfo
from physjax.data.arrays import as_images
from physjax.data.images import read_images
from physjax.records import RecordError, Result, RunFolder, RunRecord

if TYPE_CHECKING:
    from physjax.evaluate.network import TrainedNetwork
    from physjax.train.predict import Views
    from physjax.train.setup import TrainSetup


class LoadedRun:
    """A run in its folder, and the network that it trained.

    Attributes:
      path: the folder.
      record: config, epochs, result and origin.
    """

    def __init__(
        self,
        path: Path,
        record: RunRecord,
        dataset: Dataset | None = None,
        *,
        other_code: bool = False,
    ) -> None:
        self.path, self.record = path, record
        self._dataset, self._other_code = dataset, other_code

    def __repr__(self) -> str:
        result = self.record.result
        state = "not ended" if result is None else f"test accuracy {result.test_accuracy:.2%}"
        return f"<run {self.path}: {state}>"

    @property
    def config(self) -> Config:
        """What was run."""
        return self.record.config

    @property
    def result(self) -> Result:
        """What it came to. Raises RecordError where the run has not ended."""
        if self.record.result is None:
            raise RecordError(f"{self.path} has not ended: run the same config again to go on")
        return self.record.result

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the columns that :meth:`predict` gives."""
        return self.result.data.class_names

    @property
    def info(self) -> DatasetInfo:
        """What the network must know of images: their size, mean and deviation, the classes."""
        return self._setup.info

    @functools.cached_property
    def variables(self) -> dict[str, Any]:
        """`params` and, with a norm, `batch_stats`, as they were trained: the moving averages where
        the run kept them.

        Raises:
          RecordError: the run has not ended.
          OriginError: the code of law or base is not what was trained, and `other_code` not given.
          CheckpointError: the checkpoint is gone or damaged.
        """
        from physjax.train.ended import restore
        from physjax.train.origin import check_code

        result = self.result
        check_code(self.path, self.record, self._other_code, print)
        return restore(self._setup, RunFolder(self.path).checkpoints, result.steps)

    @functools.cached_property
    def _setup(self) -> TrainSetup:
        runtime.configure()
        from physjax.train.ended import dataset_info
        from physjax.train.setup import TrainSetup

        facts = self.result.data
        return TrainSetup(self.config, dataset_info(facts), facts.examples["train"])

    @functools.cached_property
    def _network(self) -> TrainedNetwork:
        from physjax.evaluate.network import TrainedNetwork

        return TrainedNetwork(self._setup, self.variables)

    def predict(
        self, images: npt.ArrayLike | str | Path | Sequence[str | Path], tta: Views = "none"
    ) -> npt.NDArray[np.float64]:
        """Class probabilities, float64 [N, K].

        Args:
          images: uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], H and W at most what the network
            was trained on, most often 32; smaller ones get a black border, as the images of the
            data sets do. Or the path of an image file of any size, or several
            (`physjax.data.images`).
          tta: test-time augmentation: `mirror` averages over both mirror images, `mirror+shift`
            over those moved by a pixel to two corners too.

        Raises:
          DataError: images that do not fit; a file that is no image, by its name.
          ConfigError: `tta` for images whose mirror image shows no such class.
        """
        return np.exp(self._network.log_probabilities(self._as_images(images), tta))

    def _as_images(self, images: Any) -> npt.NDArray[np.uint8]:
        if isinstance(images, str | Path):
            images = [images]
        if isinstance(images, Sequence) and images and isinstance(images[0], str | Path):
            return read_images(images, self.info.native, self.info.image_size)
        return as_images(images, self.info.image_size)
