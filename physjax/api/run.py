"""A run that one can hold, and ask for predictions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from physjax import runtime
from physjax.config import Config, ConfigError
from physjax.data import Dataset, DatasetInfo
from physjax.data.arrays import as_images, check_labels
from physjax.data.images import read_images
from physjax.plotting import PNG, Format
from physjax.records import RecordError, Result, RunFolder, RunRecord

if TYPE_CHECKING:
    from physjax.evaluate.network import TrainedNetwork
    from physjax.evaluate.record import RobustnessRecord
    from physjax.export import PortableNetwork
    from physjax.records.relaxation import Relaxation
    from physjax.train.metrics import ClassificationMetrics
    from physjax.train.predict import Views
    from physjax.train.setup import TrainSetup


class Run:
    """A run in its folder, and the network that it trained.

    Made by :func:`fit` and :func:`load_run`.

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
        from physjax.evaluate.network import restore
        from physjax.train.origin import check_code

        result = self.result
        check_code(self.path, self.record, self._other_code, print)
        return restore(self._setup, RunFolder(self.path).checkpoints, result.steps)

    @functools.cached_property
    def _setup(self) -> TrainSetup:
        runtime.configure()
        from physjax.evaluate.network import dataset_info
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

    @overload
    def evaluate(
        self,
        *,
        tta: Views = ...,
        corruptions: Sequence[str] = ...,
        corrupted_dir: str | Path | None = ...,
        permute_ring: int = ...,
        gates: bool = ...,
        data_dir: str | None = ...,
    ) -> RobustnessRecord: ...

    @overload
    def evaluate(
        self, images: npt.ArrayLike, labels: npt.ArrayLike, *, tta: Views = ...
    ) -> ClassificationMetrics: ...

    def evaluate(
        self,
        images: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        *,
        tta: Views = "none",
        corruptions: Sequence[str] = (),
        corrupted_dir: str | Path | None = None,
        permute_ring: int = 0,
        gates: bool = False,
        data_dir: str | None = None,
    ) -> RobustnessRecord | ClassificationMetrics:
        """Accuracy, loss, calibration and classes.

        Without images it is the run's own test set, in the ways that are asked for, and written
        into the run's folder.

        Args:
          images: as for :meth:`predict`.
          labels: integers [N].
          tta: as for :meth:`predict`.
          corruptions: the test images corrupted, too (`physjax.evaluate.corruptions.CORRUPTIONS`).
          corrupted_dir: corrupted test images from a folder in their place, such as CIFAR-10-C:
            all that it has, or the `corruptions` that are named.
          permute_ring: the channels in so many other orders on the ring, too.
          gates: which channels the law's gates open and close for which class, too.
          data_dir: TFDS folder of the test images; None: as for training.

        Raises:
          ConfigError: the run's images were arrays, and are not at hand; or the law knows no
            neighbours, or has no gates.
          DataError: images or labels that do not fit.
        """
        from physjax.evaluate.robustness import evaluate
        from physjax.train.metrics import classification_metrics

        if images is not None or labels is not None:
            if images is None or labels is None:
                raise ConfigError("images and labels go together: give both, or neither")
            if corruptions or corrupted_dir is not None or permute_ring or gates:
                raise ConfigError(
                    "corruptions, corrupted_dir, permute_ring and gates are for the run's own test "
                    "images; leave them out, or images and labels"
                )
            array = self._as_images(images)
            known = check_labels(labels, len(array), len(self.class_names))
            log_probabilities = self._network.log_probabilities(array, tta)
            return classification_metrics(log_probabilities, known, len(self.class_names))
        self._check_images()
        return evaluate(
            self.path,
            tta=tta,
            dataset=self._dataset,
            data_dir=data_dir,
            corruptions=corruptions,
            corrupted_dir=corrupted_dir,
            permuted_rings=permute_ring,
            gates=gates,
            other_code=self._other_code,
        )

    def relaxation(self, examples: int = 64, *, data_dir: str | None = None) -> Relaxation:
        """How the network comes to rest by its own rule: energy and residuals by round, and states.

        Written into the run's folder too (`physjax.evaluate.relaxation`).

        Args:
          examples: test images that settle side by side.
          data_dir: TFDS folder of the test images; None: as for training.

        Raises:
          ConfigError: the rule lets no layers settle, or the images were arrays and not at hand.
        """
        from physjax.evaluate.relaxation import relax

        self._check_images()
        return relax(
            self.path,
            examples=examples,
            dataset=self._dataset,
            data_dir=data_dir,
            other_code=self._other_code,
        )

    def _check_images(self) -> None:
        if self._dataset is None and self.result.data.source == "arrays":
            raise ConfigError(
                f"{self.path} was trained on arrays of one's own ({self.result.data.name}); give "
                "images and labels, or load_run(..., dataset=...)"
            )

    def portable(self, *, merge: bool = True) -> PortableNetwork:
        """The network as it leaves physjax, with its preprocessing (`physjax.export`).

        Args:
          merge: fold its forces, where they can be folded.
        """
        from physjax.export import network_of_run

        return network_of_run(self._setup, self.variables, self.record, merge=merge)

    def export(self, to: str, path: str | Path | None = None, *, merge: bool = True) -> Path:
        """Write the network in a format, and a model card beside it; the file.

        Args:
          to: a name in `physjax.export.EXPORTS`: stablehlo, onnx, safetensors, torch.
          path: of the file; None: export/model.<ending> in the run's folder.
          merge: fold its forces, where they can be folded.

        Raises:
          ConfigError: there is no such format.
          ExportError: the format cannot hold the network, or needs what is not installed.
        """
        from physjax.export import EXPORTS, write_export

        suffix = EXPORTS.get_named(to).suffix
        target = self.path / "export" / f"model{suffix}" if path is None else Path(path)
        return write_export(self.portable(merge=merge), to, target)[0]

    def report(self, formats: Sequence[Format] = PNG) -> list[Path]:
        """Draw the figures of the run into its folder; their files."""
        from physjax.report.run import report_run

        return report_run(self.path, formats)

    def page(self, output: str | Path = "report.html", *others: Run) -> Path:
        """Write an HTML page about this run, and `others` beside it, that needs no network.

        It shows what the network is surest of and wrong, and its filters and forces, too.

        Raises:
          ConfigError: the images of a run were arrays, and are not at hand.
        """
        from physjax.evaluate.inspection import ensure_inspected
        from physjax.report.html import write_page

        runtime.configure()
        for run in (self, *others):
            ensure_inspected(run.path, dataset=run._dataset, other_code=run._other_code)
        write_page([self.path, *(run.path for run in others)], Path(output))
        return Path(output)
