"""A run that one can hold: what one asks it for, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy.typing as npt

from physjax import runtime
from physjax.api.loaded import LoadedRun
from physjax.config import ConfigError
from physjax.data.arrays import check_labels
from physjax.plotting import PNG, Format

if TYPE_CHECKING:
    from physjax.evaluate.record import RobustnessRecord
    from physjax.export import PortableNetwork
    from physjax.records.relaxation import Relaxation
    from physjax.train.metrics import ClassificationMetrics
    from physjax.train.predict import Views


class Run(LoadedRun):
    """A run in its folder, and the network that it trained.

    Made by :func:`fit` and :func:`load_run`.

    Attributes:
      path: the folder.
      record: config, epochs, result and origin.
    """

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
          ExportError: the format cannot hold the network.
          WeightsError: it needs what is not installed.
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
