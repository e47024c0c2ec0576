"""Reading a folder that TensorFlow Datasets prepared, without TensorFlow."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from physjax.data.table import DATASETS, DatasetSpec
from physjax.data.types import DataError, Split

SIDE = 32
"""Height and width of the images that models get."""
CHUNK = 500
"""Records that one thread reads and decodes at a time."""
PNG_COLOUR_TYPE = {1: 0, 3: 2}
"""Number of channels -> the type that a PNG header states."""


def data_folder(data_dir: str | None) -> Path:
    """The TFDS folder asked for, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find_prepared(spec: DatasetSpec, data_dir: str | None) -> Path | None:
    """The folder of the prepared data set, or None if nothing is prepared there.

    Raises:
      DataError: a version folder is there but empty, incomplete, or of another version.
    """
    home = data_folder(data_dir) / spec.name
    folder = home / spec.version
    if folder.is_dir():
        _check_folder(spec, folder)
        return folder
    others = sorted(p.name for p in home.glob("[0-9]*.[0-9]*.[0-9]*") if "incomplete" not in p.name)
    if others:
        raise DataError(
            f"{home} holds version {', '.join(others)} of {spec.name}, but version {spec.version} "
            f"is needed: prepare it with experiments/prepare.py --dataset {spec.name} "
            f"--data-dir {home.parent}"
        )
    return None


def _check_folder(spec: DatasetSpec, folder: Path) -> None:
    remedy = f"delete {folder} and prepare it again with experiments/prepare.py"
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_text())
        splits = {split["name"] for split in info["splits"]}
        named = (info["name"], info["version"])
    except FileNotFoundError:
        state = "is incomplete" if any(folder.iterdir()) else "is empty"
        raise DataError(f"{folder} {state}: it has no dataset_info.json; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); {remedy}") from error
    if named != (spec.name, spec.version):
        raise DataError(
            f"{path} says {'/'.join(named)}, where {spec.name}/{spec.version} is expected; {remedy}"
        )
    if not {"train", "test"} <= splits:
        raise DataError(f"{path} names the splits {sorted(splits)}, not train and test; {remedy}")


def read_prepared(folder: Path) -> tuple[Split, Split]:
    """Decode both splits of a prepared folder `.../<name>/<version>`.

    Returns:
      (train, test); images uint8 [N, 32, 32, 3], labels int32 [N], in the stored order.

    Raises:
      DataError: a record file is missing, damaged or does not hold what dataset_info.json says.
    """
    spec = DATASETS[folder.parent.name]
    return _read_split(spec, folder, "train"), _read_split(spec, folder, "test")


def _read_split(spec: DatasetSpec, folder: Path, split: str) -> Split:
    # Here, not above: with a warm cache TFDS is not needed, and it is slow to import.
    import tensorflow_datasets as tfds

    try:
        source = tfds.data_source(
            f"{spec.name}:{spec.version}",
            split=split,
            data_dir=folder.parent.parent,
            download=False,
        )
        count = len(source)
        starts = range(0, count, CHUNK)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            chunks = pool.map(
                # The raw records: decoding them below is several times faster than TFDS's own.
                lambda start: _decode_chunk(
                    source.data_source.__getitems__(range(start, min(start + CHUNK, count))), spec
                ),
                starts,
            )
            images, labels = zip(*chunks, strict=True)
    except Exception as error:
        # Whatever the readers below raise (RuntimeError, DecodeError, ...) is a damaged folder.
        raise DataError(
            f"the {split} images in {folder} cannot be read ({type(error).__name__}: {error}); "
            f"delete the folder and prepare it again with experiments/prepare.py"
        ) from error
    return Split(_to_rgb32(np.concatenate(images)), np.concatenate(labels))


def _decode_chunk(
    records: list[bytes], spec: DatasetSpec
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    from tensorflow_datasets.proto import tf_example_pb2

    files: list[bytes] = []
    labels: list[int] = []
    for record in records:
        features: Any = tf_example_pb2.Example.FromString(record).features.feature
        files.append(features["image"].bytes_list.value[0])
        labels.append(features["label"].int64_list.value[0])
    if not 0 <= min(labels) <= max(labels) < spec.num_classes:
        raise ValueError(f"labels {min(labels)} to {max(labels)} of {spec.num_classes} classes")
    return decode_pngs(files, spec.native_shape), np.asarray(labels, np.int32)


def decode_pngs(files: Sequence[bytes], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Decode many small PNG files of one shape at once.

    Opening 60,000 files one by one in Pillow costs several times what decoding takes. So the
    inflated scanlines of all images are joined to a single tall image, a blank line before each (a
    PNG filter looks one line up, and above its first line an image has zeros), which Pillow
    decodes in one call; inflating runs in parallel threads.

    Args:
      files: N whole PNG files.
      shape: (height, width, channels); channels 1 or 3.

    Returns:
      uint8 [N, height, width, channels].

    Raises:
      ValueError: an image has another size, or is damaged.
    """
    height, width, channels = shape
    blank = bytes(1 + width * channels)
    lines = b"".join(part for data in files for part in (blank, _scanlines(data, shape)))
    size = (width, len(files) * (height + 1))
    mode = "RGB" if channels == 3 else "L"
    tall = Image.frombytes(mode, size, zlib.compress(lines, 0), "zip", mode, 0)
    return np.asarray(tall).reshape(len(files), height + 1, width, channels)[:, 1:]


def _scanlines(data: bytes, shape: tuple[int, int, int]) -> bytes:
    """The inflated content of a PNG file: each line a filter type and the filtered bytes."""
    height, width, channels = shape
    actual_width, actual_height, depth, colour, interlace = struct.unpack_from(">16xIIBBxxB", data)
    if (actual_height, actual_width) != (height, width):
        raise ValueError(f"an image is {actual_height}x{actual_width}, not {height}x{width}")
    if (depth, colour, interlace) == (8, PNG_COLOUR_TYPE[channels], 0):
        lines = zlib.decompress(_image_data(data))
    else:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB" if channels == 3 else "L"))
        unfiltered = np.zeros((height, 1 + width * channels), np.uint8)
        unfiltered[:, 1:] = pixels.reshape(height, -1)
        lines = unfiltered.tobytes()
    if len(lines) != height * (1 + width * channels):
        raise ValueError(f"an image has {len(lines)} bytes of pixels")
    return lines


def _image_data(data: bytes) -> bytes:
    parts = []
    offset = 8
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        if data[offset + 4 : offset + 8] == b"IDAT":
            parts.append(data[offset + 8 : offset + 8 + length])
        offset += 12 + length
    return b"".join(parts)


def _to_rgb32(images_NHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pad with zeros to 32x32, evenly on all sides; grey becomes three equal channels."""
    _, height, width, channels = images_NHWC.shape
    if (height, width) != (SIDE, SIDE):
        rows, columns = (SIDE - height) // 2, (SIDE - width) // 2
        images_NHWC = np.pad(images_NHWC, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    return images_NHWC if channels == 3 else np.repeat(images_NHWC, 3, axis=-1)
