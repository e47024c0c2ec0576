"""Damaged and hostile prepared folders and cache files: a message, or the very images.

Seeded, as the tests of archives are.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import published
from helpers.fuzzing import CHANGES, Change, bounded, damage, examples
from physjax.data import DATASETS, DataError, Split
from physjax.data.cache import cached
from physjax.data.provenance import title_and_notice
from physjax.data.shards import read_shard
from physjax.data.tfds_folder import find_prepared, read_layout, read_prepared
from physjax.errors import UserError

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["train", "50000", "../x", "\0", "3.0.2", "nan", "1e400", "{SPLIT}"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: object, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a JSON document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [above, *(place for key, item in inner for place in places(item, (*above, key)))]


def own_copy(source: Path, factory: pytest.TempPathFactory, name: str) -> Path:
    """A prepared folder for one test, made once."""
    folder = factory.getbasetemp() / name / "cifar10" / "3.0.2"
    if not folder.is_dir():
        shutil.copytree(source / "cifar10" / "3.0.2", folder)
    return folder


def check_layout(folder: Path, original: Path) -> None:
    """Refused, or with nothing changed that decides what is read."""
    spec = published.small("cifar10")
    with bounded(8 << 20):
        try:
            assert find_prepared(spec, str(folder.parents[1])) == folder
        except DataError:
            return
    expected = read_layout(spec, original / "cifar10" / "3.0.2")
    names = [[shard.path.name for shard in part] for part in (expected.train, expected.test)]
    found = read_layout(spec, folder)
    assert found.file_format == expected.file_format
    assert [[shard.path.name for shard in part] for part in (found.train, found.test)] == names
    assert [shard.count for shard in (*found.train, *found.test)] == [60, 20]


@examples(150)
@given(data=st.data(), replacement=JSON)
def test_dataset_info(
    data: st.DataObject, replacement: object, prepared_cifar10: Path, tmp_path_factory: Any
) -> None:
    """Any value in dataset_info.json, replaced by any other."""
    folder = own_copy(prepared_cifar10, tmp_path_factory, "fuzz-info")
    name = "dataset_info.json"
    original = prepared_cifar10 / "cifar10" / "3.0.2" / name
    content = json.loads(original.read_text(encoding="utf-8"))
    place = data.draw(st.sampled_from(places(content)))
    if place:
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = replacement
    else:
        content = replacement
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    check_layout(folder, prepared_cifar10)


@pytest.mark.parametrize("name", ["dataset_info.json", "label.labels.txt", "physjax.json"])
@examples(30)
@given(changes=CHANGES)
def test_texts_of_a_folder(
    name: str, changes: list[Change], prepared_cifar10: Path, tmp_path_factory: Any
) -> None:
    folder = own_copy(prepared_cifar10, tmp_path_factory, f"fuzz-{name}")
    whole = (prepared_cifar10 / "cifar10" / "3.0.2" / name).read_bytes()
    (folder / name).write_bytes(damage(whole, changes))
    check_layout(folder, prepared_cifar10)
    title, notice = title_and_notice(DATASETS["cifar10"], folder, "0" * 64)
    assert title == "CIFAR-10 (unverified copy)"
    assert notice


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@examples(60)
@given(changes=CHANGES)
def test_shards(
    file_format: str, changes: list[Change], prepared_cifar10: Path, tmp_path_factory: Any
) -> None:
    """Checksums protect them: what can be read is what was written."""
    folder = own_copy(prepared_cifar10, tmp_path_factory, f"fuzz-{file_format}")
    if file_format == "tfrecord" and not list(folder.glob("*.tfrecord-*")):
        published.to_tfrecord(folder)
    (path,) = folder.glob(f"cifar10-test.{file_format}-*")
    source, records = sound(path, file_format)
    path.write_bytes(damage(source, changes))
    with bounded(8 << 20):
        try:
            found = read_shard(path, file_format, 20)
        except (ValueError, RuntimeError):
            return
    assert list(found) == records


@functools.cache
def sound(path: Path, file_format: str) -> tuple[bytes, list[bytes]]:
    """A file's content when it was first asked for, and its records."""
    return path.read_bytes(), list(read_shard(path, file_format, 20))


@pytest.mark.parametrize("feature", ["image", "label"])
@examples(40)
@given(changes=CHANGES)
def test_examples_in_a_sound_file(
    feature: str, changes: list[Change], prepared_cifar10: Path, tmp_path_factory: Any
) -> None:
    """Records with right checksums, of which one holds a damaged image, or is damaged itself."""
    from tensorboardX.record_writer import RecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = own_copy(prepared_cifar10, tmp_path_factory, f"fuzz-{feature}")
    if not list(folder.glob("*.tfrecord-*")):
        published.to_tfrecord(folder)
    (path,) = folder.glob("cifar10-test.tfrecord-*")
    _, records = sound(path, "tfrecord")
    record = records[0]
    if feature == "image":
        example = tf_example_pb2.Example.FromString(record)
        values: Any = example.features.feature["image"].bytes_list.value
        values[0] = damage(values[0], changes)
        record = example.SerializeToString()
    else:
        record = damage(record, changes)
    path.unlink()
    writer = RecordWriter(str(path))
    for content in (record, *records[1:]):
        writer.write(content)
    writer.close()
    try:
        _, test = read_prepared(published.small("cifar10"), folder)
    except DataError:
        return
    assert len(test) == 20


@examples(120)
@given(changes=CHANGES)
def test_cache_files(changes: list[Change], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happened to the file, the images are those of the folder."""
    base = tmp_path_factory.getbasetemp() / "fuzz-cache"
    folder = base / "cifar10" / "3.0.2"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    right = tuple(
        Split(rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n, dtype=np.int32))
        for n in (6, 3)
    )

    def decode(folder: Path) -> Any:
        return right

    (_, mark) = cached(folder, (6, 3), str(base / "cache"), decode)
    (path,) = (base / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes(), changes))
    with warnings.catch_warnings(), bounded(8 << 20):
        warnings.simplefilter("ignore", RuntimeWarning)
        found, again = cached(folder, (6, 3), str(base / "cache"), decode)
    assert again == mark
    for one, other in zip(found, right, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.images.shape == other.images.shape


@examples(100)
@given(name=st.text(max_size=30), folder=st.text(max_size=300))
def test_names_and_folders(name: str, folder: str) -> None:
    from physjax.config import DataConfig
    from physjax.data import prepare, resolve

    for call in (
        lambda: resolve(DataConfig(name or "x")),
        lambda: prepare(name),
        lambda: find_prepared(DATASETS["cifar10"], "/nowhere/" + folder),
    ):
        with contextlib.suppress(UserError):
            call()
