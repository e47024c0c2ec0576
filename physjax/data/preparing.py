"""Writing a data set into a TFDS folder, as its own TFDS builder would, but without TensorFlow.

The builders of TFDS open files and encode images with TensorFlow. A subclass that yields PNG bytes
made by Pillow needs neither, and writes the same data set: name, version, features, order of the
examples.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from physjax.data import DATASETS
from physjax.data.archives import read_archives
from physjax.data.download import fetch, unreachable_reason
from physjax.data.provenance import write_provenance
from physjax.data.raw import RawData, RawSplit
from physjax.data.spec import DatasetSpec
from physjax.data.tfds_folder import find_prepared, read_prepared
from physjax.data.tfds_layout import data_folder
from physjax.data.types import DataError, fingerprint


def prepare(
    name: str,
    data_dir: str | None = None,
    archive: Sequence[str | Path] | None = None,
    unverified: bool = False,
) -> Path:
    """Make a data set readable through `tfds.data_source` (and `load`).

    Args:
      name: a key of `DATASETS`.
      data_dir: TFDS folder; None: $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      archive: the published files brought by hand, packed or unpacked, or folders that hold them;
        None: download them to `data_dir`/downloads, if their host answers within 5 s.
      unverified: take files too whose size or checksum is not the published one; titles and records
        of what is computed from them say so.

    Returns:
      The prepared folder, `data_dir`/name/version; one that is there already is left as it is.

    Raises:
      DataError: unknown or embedded data set; no answer; a wrong, truncated or damaged archive; a
        folder that cannot be written. Then nothing is left behind but whole downloaded archives.
    """
    spec = DATASETS.get(name)
    if spec is None or not spec.archives:
        known = ", ".join(s.name for s in DATASETS.values() if s.archives)
        raise DataError(f"{name!r} cannot be prepared; those that can: {known}")
    return prepare_spec(spec, data_dir, archive, unverified)


def prepare_spec(
    spec: DatasetSpec,
    data_dir: str | None,
    archive: Sequence[str | Path] | None,
    unverified: bool = False,
) -> Path:
    """`prepare` for an entry that need not be in the table (tests use smaller ones)."""
    ready = find_prepared(spec, data_dir)
    if ready is not None:
        return ready
    folder = data_folder(data_dir)
    if archive is None:
        reason = unreachable_reason(spec.archives[0].url)
        if reason:
            files = ", ".join(published.name for published in spec.archives)
            raise DataError(
                f"{spec.title} cannot be downloaded: {reason}; bring {files} from {spec.home} by "
                "hand and name it with --archive"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if archive is None:
            paths = [fetch(published, folder / "downloads") for published in spec.archives]
        else:
            paths = [Path(path).expanduser() for path in archive]
        data, verified = read_archives(spec, paths, unverified)
        return _write(spec, data, folder, verified)
    except DataError:
        raise
    # What the writers of TFDS raise on a full disk, and paths with a zero or an unknown user.
    except Exception as error:
        raise DataError(
            f"{spec.title} cannot be prepared in {folder} ({type(error).__name__}: {error})"
        ) from error


def _write(spec: DatasetSpec, data: RawData, folder: Path, verified: bool) -> Path:
    """Prepare into a temporary folder beside the destination, read it back, then rename."""
    target = folder / spec.name / spec.version
    _remove_abandoned(spec, folder)
    workplace = Path(tempfile.mkdtemp(prefix=f".{spec.name}-unfinished-", dir=folder))
    try:
        _run(_builder(spec, data, workplace))
        # mkdtemp's folder is private; the prepared one inside it has the usual rights.
        prepared = workplace / spec.name / spec.version
        write_provenance(prepared, fingerprint(*read_prepared(spec, prepared)), verified)
        target.parent.mkdir(exist_ok=True)
        _move(prepared, target)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return target


def _remove_abandoned(spec: DatasetSpec, folder: Path) -> None:
    """Remove what a process that was killed while it prepared has left, if it is a day old."""
    for path in folder.glob(f".{spec.name}-unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 86_400:
                shutil.rmtree(path, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError:
        # Another process may have been faster; its folder is as good.
        if not (target / "dataset_info.json").is_file():
            raise


def _builder(spec: DatasetSpec, data: RawData, data_dir: Path) -> Any:
    """TFDS's own builder, with the methods replaced that need TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    base = tfds.builder_cls(spec.name)

    def split_generators(self: Any, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        for feature, names in data.names.items():
            self.info.features[feature].names = names
        return {
            "train": examples(self, "train", data.train),
            "test": examples(self, "test", data.test),
        }

    def examples(self: Any, split: str, raw: RawSplit) -> Iterator[tuple[int, dict[str, Any]]]:
        # Keys and ids are those of the TFDS builder: it shuffles by the key.
        digits = 6 if spec.layout == "svhn" else 5
        for index, image in enumerate(raw.images):
            example: dict[str, Any] = {
                key: int(labels[index]) for key, labels in raw.labels.items()
            }
            example["image"] = encode_png(image)
            if "id" in self.info.features:
                example["id"] = f"{split}_{index:0{digits}d}"
            yield index, example

    with registered.skip_registration():
        # The same class and module name: the name of the data set is derived from the one, and
        # dataset_info.json mentions the other.
        own = type(
            base.__name__,
            (base,),
            {
                "__module__": base.__module__,
                "name": spec.name,
                "pkg_dir_path": base.pkg_dir_path,
                "_split_generators": split_generators,
            },
        )
    return own(data_dir=data_dir, version=spec.version, file_format="array_record")


def _run(builder: Any) -> None:
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    # TFDS announces the temporary folder, which nobody will find, on standard output; its bars go
    # to standard error.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


def encode_png(image_HWC: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as the bytes of a PNG file."""
    pixels = image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="png")
    return buffer.getvalue()
