"""Images that are read batch by batch: the same as those in memory, in flat memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from physjax.config import DataConfig
from physjax.data import DataError, Split, facts, fingerprint, load, stream
from physjax.data.lazy import LazyImages
from physjax.data.stream import BatchesInOrder, Orders, ReadAhead, TrainingBatches, in_order
from physjax.errors import UserError

SIDE = 32


class Shades:
    """Image n has the colour n everywhere."""

    def __init__(self, count: int, side: int = SIDE) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        return np.full((self.side, self.side, 3), index % 256, np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 10 and 15 JPEGs of many sizes."""
    rng = np.random.default_rng(0)
    for number in range(25):
        path = tmp_path / "photos" / ("cat" if number < 10 else "dog") / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + number, 50, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.fixture
def orders() -> Iterator[Orders]:
    made = Orders()
    yield made
    made.close()


def config(folder: Path, mode: str, **fields: object) -> DataConfig:
    return DataConfig("folder", str(folder), mode=mode, **fields)  # type: ignore[arg-type]


# ---- the images and what is known of them ----


@pytest.mark.parametrize("many", [facts.MANY, 10], ids=["few", "many"])
def test_streamed_images_are_those_in_memory_and_as_much_is_known_of_them(
    photos: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(facts, "MANY", many)
    parts = {"holdout": 0.2, "train_examples": 12, "test_examples": 4}
    wanted = load(config(photos, "device", **parts))
    found = load(config(photos, "stream", **parts))
    assert found.info == wanted.info
    assert wanted.validation is not None
    assert found.validation is not None
    for one, other in (
        (found.train, wanted.train),
        (found.validation, wanted.validation),
        (found.test, wanted.test),
    ):
        assert isinstance(one.images, LazyImages)
        assert isinstance(other.images, np.ndarray)
        assert one.images.shape == other.images.shape
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.images[3:1:-1], other.images[3:1:-1])
        np.testing.assert_array_equal(one.images[2], other.images[2])
    pixels = load(config(photos, "device"))
    assert (found.info.fingerprint == fingerprint(pixels.train, pixels.test)) == (many > 25)


def test_nothing_decoded_is_kept_and_what_was_found_is_known_until_a_file_changes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = config(photos, "stream", cache_dir=str(tmp_path / "cache"))
    info = load(streamed).info
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.stat().st_size < 5_000
    for damage in (b"", kept.read_bytes()[:-9], kept.read_bytes().replace(b"mean", b"name")):
        kept.write_bytes(damage)
        assert load(streamed).info == info
    with monkeypatch.context() as patch:
        patch.setattr("physjax.data.image_folder.decode_file", None)
        assert load(streamed).info == info
    Image.new("RGB", (40, 40), "red").save(photos / "cat" / "00.jpg")
    changed = load(streamed).info
    assert changed.fingerprint != info.fingerprint
    assert changed.mean != info.mean


def test_the_fingerprint_of_many_images_is_that_of_their_files(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they lie, and whenever they were written; and a byte in one of them shows."""
    monkeypatch.setattr(facts, "MANY", 10)
    monkeypatch.setattr(facts, "SAMPLE", 7)
    info = load(config(photos, "stream")).info
    moved = photos.rename(tmp_path / "moved")
    os.utime(moved / "dog" / "20.jpg", (0, 0))
    again = load(config(moved, "stream")).info
    assert again.fingerprint == info.fingerprint
    assert again.mean == info.mean
    file = moved / "dog" / "20.jpg"
    content = bytearray(file.read_bytes())
    content[15] ^= 1  # pixels in an inch, which no pixel depends on
    file.write_bytes(content)
    assert load(config(moved, "stream")).info.fingerprint != info.fingerprint
    (moved / "dog" / "20.jpg").rename(moved / "dog" / "21a.jpg")
    renamed = load(config(moved, "stream")).info.fingerprint
    assert renamed != info.fingerprint


def test_where_nothing_can_be_kept_one_is_told(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.warns(RuntimeWarning, match=r"cannot be kept .* choose another folder"):
        load(config(photos, "stream", cache_dir=str(tmp_path / "cache")))


def test_a_damaged_image_is_named_before_and_while_it_is_read(photos: Path) -> None:
    found = load(config(photos, "stream"))
    (photos / "dog" / "17.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"17\.jpg: it is no image"):
        load(config(photos, "stream"))
    with pytest.raises(DataError, match=r"17\.jpg: it is no image.*Mend it"):
        np.asarray(found.train.images)
    with pytest.raises(DataError, match=r"17\.jpg: it is no image"):
        list(in_order(found.train.images, 5))


@pytest.mark.parametrize(
    ("mode", "count", "side", "streamed"),
    [
        ("auto", 60_000, 32, False),
        ("auto", 14_000, 224, False),
        ("auto", 15_000, 224, True),
        ("device", 10**6, 224, False),
        ("stream", 1, 32, True),
    ],
)
def test_what_is_large_is_streamed(mode: str, count: int, side: int, streamed: bool) -> None:
    assert stream.is_streamed(mode, count, side) == streamed


def test_auto_does_not_decode_a_large_folder(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LIMIT", 24 * 3 * 32**2)
    assert isinstance(load(config(photos, "auto")).train.images, LazyImages)
    monkeypatch.setattr(stream, "LIMIT", 25 * 3 * 32**2)
    assert isinstance(load(config(photos, "auto")).train.images, np.ndarray)


# ---- batches ----


def batches(orders: Orders, **fields: object) -> TrainingBatches:
    """Of 23 images, 6 a batch, 4 steps in each of 3 epochs."""
    rng = np.random.default_rng(0)
    for epoch in range(3):
        orders.put(epoch, rng.permutation(23))
    images = LazyImages(Shades(23), SIDE)
    made = TrainingBatches(
        images, np.arange(23, dtype=np.int32), orders, 6, np.arange(6), 4, 1, 0, 12
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def steps_of(source: TrainingBatches) -> npt.NDArray[np.int32]:
    """[steps, n]: the images of each, by their colour and by their label, which agree."""
    found = []
    for images, labels in (source[k] for k in range(len(source))):
        assert images.shape == (*labels.shape, SIDE, SIDE, 3)
        assert (images == labels[..., None, None, None]).all()
        found.append(labels)
    return np.concatenate(found)


def test_batches_follow_the_order_of_their_epoch(orders: Orders) -> None:
    source = batches(orders)
    found = steps_of(source)
    assert found.shape == (12, 6)
    for epoch in range(3):
        order = orders.get(epoch)
        # The last batch is filled up with copies of the last image, which the step masks.
        wanted = [*order, order[-1]]
        np.testing.assert_array_equal(found[4 * epoch : 4 * epoch + 4].ravel(), wanted)


@pytest.mark.parametrize("steps_per_call", [1, 3, 4])
@pytest.mark.parametrize("first_step", [0, 1, 5, 8, 11])
def test_a_run_goes_on_at_any_step(orders: Orders, steps_per_call: int, first_step: int) -> None:
    whole = steps_of(batches(orders))
    rest = batches(orders, steps_per_call=steps_per_call, first_step=first_step)
    np.testing.assert_array_equal(steps_of(rest), whole[first_step:])
    lengths = [len(rest[k][1]) for k in range(len(rest))]
    assert max(lengths) <= steps_per_call
    ends = first_step + np.cumsum(lengths)
    assert {4, 8, 12} & set(range(first_step + 1, 13)) <= {*ends.tolist()}, "no call of two epochs"


def test_each_host_reads_its_own_rows(orders: Orders) -> None:
    whole = steps_of(batches(orders))
    for columns in (np.arange(3), np.array([3, 4, 5])):
        part = steps_of(batches(orders, columns=columns))
        np.testing.assert_array_equal(part, whole[:, columns])


def test_reading_ahead_waits_for_an_order_and_ends_with_the_run() -> None:
    orders = Orders()
    source = replace(batches(orders), last_step=20)
    ahead = ReadAhead(source, source.images, 0, lambda batch: batch[1])
    found = [next(ahead) for _ in range(12)]
    orders.put(3, np.arange(23))
    found.append(next(ahead))
    np.testing.assert_array_equal(found[-1], [np.arange(6)])
    orders.drop(3)
    assert 2 not in orders
    assert 3 in orders
    orders.close()
    ahead.close()
    with pytest.raises(UserError, match="has ended"):
        orders.get(9)


@pytest.mark.parametrize("count", [1, 10, 12, 13])
def test_batches_in_order_are_filled_up(count: int) -> None:
    images = LazyImages(Shades(count), SIDE)
    lazy, eager = list(in_order(images, 4)), list(in_order(np.asarray(images), 4))
    np.testing.assert_array_equal(lazy, eager)
    shades = np.concatenate(lazy)[:, 0, 0, 0]
    assert len(shades) == -(-count // 4) * 4
    np.testing.assert_array_equal(shades, np.minimum(np.arange(len(shades)), count - 1))


def test_workers_read_the_same_in_the_same_order_without_a_device(
    orders: Orders, photos: Path
) -> None:
    """And what cannot be read in one of them is told here."""
    found = load(config(photos, "stream"))
    order = np.random.default_rng(0).permutation(len(found.train))
    orders.put(0, order)
    source = TrainingBatches(
        found.train.images, found.train.labels, orders, 4, np.arange(4), 5, 1, 0, 5
    )
    ahead = ReadAhead(source, found.train.images, 2, lambda batch: batch)
    try:
        for step in range(5):
            images, labels = next(ahead)
            rows = order[4 * step : 4 * step + 4]
            np.testing.assert_array_equal(images[0], found.train.images[rows])
            np.testing.assert_array_equal(labels[0], found.train.labels[rows])
    finally:
        ahead.close()
    backends = ReadAhead(
        BatchesInOrder(LazyImages(Backends(), 1), 1, np.arange(1)),
        LazyImages(Backends(), 1),
        1,
        lambda batch: batch,
    )
    try:
        assert next(backends).max() == 0, "a worker started a device of JAX"
        with pytest.raises(DataError, match="image 1 is damaged"):
            next(backends)
    finally:
        backends.close()


class Backends:
    """Image 0 has the number of backends that JAX has started in this process; 1 is damaged."""

    def __len__(self) -> int:
        return 2

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        from jax._src import xla_bridge

        if index:
            raise DataError("image 1 is damaged")
        return np.full((1, 1, 3), len(xla_bridge._backends), np.uint8)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_stays_flat(orders: Orders) -> None:
    """2,400 images of 224x224 pass by, 360 MB; 96 are on their way at a time."""
    images = LazyImages(Shades(1200, 224), 224)
    for epoch in range(2):
        orders.put(epoch, np.arange(1200))
    source = TrainingBatches(
        images, np.zeros(1200, np.int32), orders, 32, np.arange(32), 37, 1, 0, 74
    )
    ahead = ReadAhead(source, images, 0, lambda batch: batch)
    seen = [resident() for _ in ahead]
    ahead.close()
    assert len(seen) == 74
    assert max(seen[20:]) - max(seen[:20]) < 30e6
    labels = np.zeros(1200, np.int32)
    few, many = (Split(images.take(np.arange(n)), labels[:n]) for n in (1, 1200))
    facts.of_images(many, few)
    before = resident()
    facts.of_images(many, few)
    assert resident() - before < 100e6
