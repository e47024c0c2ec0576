"""Images of one's own: folders, files of arrays, and what TFDS prepared, as data sets."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import published
from physjax.config import ConfigError, DataConfig, recipe, run_name
from physjax.data import (
    DATASETS,
    DataError,
    Dataset,
    class_names,
    fingerprint,
    from_arrays,
    load,
    resolve,
)
from physjax.data.images import read_image
from physjax.data.lazy import LazyImages
from physjax.data.loading import is_own
from physjax.records import DataFacts
from physjax.study.design import Study, plan


def picture(label: int, number: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    rng = np.random.default_rng([label, number])
    return Image.fromarray(rng.integers(0, 100 + 70 * label, (*size, 3), dtype=np.uint8))


def fill(folder: Path, counts: dict[str, int], start: int = 0) -> None:
    """`folder`/<class>/<number>.png."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(start, start + count):
            picture(label, number).save(folder / name / f"{number:03}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    fill(tmp_path / "pets" / "train", {"cat": 6, "dog": 6})
    fill(tmp_path / "pets" / "test", {"cat": 2, "dog": 3}, 100)
    return tmp_path / "pets"


def own(path: Path, name: str = "folder", **fields: Any) -> DataConfig:
    return DataConfig(name, data_dir=str(path), **fields)


def test_a_folder_with_train_and_test(pets: Path) -> None:
    # What lies there beside images, and images in folders of folders.
    (pets / "train" / "cat" / "notes.txt").write_text("no image")
    (pets / "train" / "cat" / "more").mkdir()
    shutil.move(pets / "train" / "cat" / "005.png", pets / "train" / "cat" / "more" / "a.PNG")
    dataset = load(own(pets))
    info = dataset.info
    assert (info.name, info.title, info.class_names) == ("folder", "pets", ("cat", "dog"))
    assert (info.num_classes, info.image_size, info.native) == (2, 32, (32, 32, 3))
    assert info.source == str(pets.resolve())
    assert info.notice == ""
    np.testing.assert_array_equal(dataset.train.labels, [0] * 6 + [1] * 6)
    np.testing.assert_array_equal(dataset.test.labels, [0] * 2 + [1] * 3)
    wanted = [np.asarray(picture(0, n)) for n in range(6)] + [
        np.asarray(picture(1, n)) for n in range(6)
    ]
    np.testing.assert_array_equal(dataset.train.images, wanted)
    np.testing.assert_allclose(info.mean, (np.array(wanted) / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(info.std, (np.array(wanted) / 255).std((0, 1, 2)), rtol=1e-12)
    assert info.fingerprint == fingerprint(dataset.train, dataset.test)
    assert class_names(own(pets)) == ("cat", "dog")
    assert is_own(own(pets))
    assert not is_own(DataConfig("digits"))
    few = load(own(pets, train_examples=4))
    np.testing.assert_array_equal(few.train.labels, [0, 0, 1, 1])


@pytest.mark.parametrize("side", [32, 64])
def test_images_of_any_size_are_resized_as_predict_does(side: int, pets: Path) -> None:
    picture(0, 0, (90, 50)).save(pets / "train" / "cat" / "000.png")
    dataset = load(own(pets, image_size=side))
    assert dataset.info.image_size == side
    assert dataset.test.images.shape == (5, side, side, 3)
    path = pets / "train" / "cat" / "000.png"
    np.testing.assert_array_equal(
        dataset.train.images[0], read_image(path, dataset.info.native, side)
    )


def test_grey_images_are_known_as_such(pets: Path) -> None:
    for path in pets.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert load(own(pets)).info.native == (32, 32, 1)


def test_one_folder_of_classes_is_split_always_the_same_way(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"cat": 20, "dog": 11, "newt": 2})
    fill(tmp_path / "b" / "train", {"cat": 20, "dog": 11, "newt": 2})
    found = [load(own(tmp_path / name)) for name in ("a", "b", "a")]
    for dataset in found:
        np.testing.assert_array_equal(np.bincount(dataset.test.labels), [4, 2, 1])
        np.testing.assert_array_equal(np.bincount(dataset.train.labels), [16, 9, 1])
        seen = {image.tobytes() for image in dataset.train.images}
        assert len(seen | {image.tobytes() for image in dataset.test.images}) == 33
        assert "7 images, a fifth of each class, always the same ones" in dataset.info.notice
        assert dataset.info.fingerprint == found[0].info.fingerprint
        assert "unbalanced; training images: cat 16, dog 9, newt 1" in dataset.info.notice


def test_the_test_folder_may_be_called_otherwise(pets: Path) -> None:
    first = load(own(pets))
    (pets / "test").rename(pets / "val")
    assert load(own(pets)).info.fingerprint == first.info.fingerprint
    fill(pets / "test", {"cat": 1}, 200)
    both = load(own(pets))
    assert len(both.test) == 1
    assert "val is not looked at" in both.info.notice


def test_what_is_decoded_is_kept_until_a_file_changes(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(own(pets))
    with monkeypatch.context() as patch:
        patch.setattr("physjax.data.image_folder.decode_file", None)
        again = load(own(pets))
    np.testing.assert_array_equal(again.train.images, first.train.images)
    assert again.info == first.info
    picture(1, 50).save(pets / "train" / "cat" / "000.png")
    changed = load(own(pets))
    assert changed.info.fingerprint != first.info.fingerprint
    (pets / "test" / "dog").rename(pets / "test" / "dog2")
    (pets / "train" / "dog").rename(pets / "train" / "dog2")
    assert load(own(pets)).info.class_names == ("cat", "dog2")


def broken(pets: Path) -> None:
    for name in ("001.png", "003.png"):
        path = pets / "train" / "dog" / name
        path.write_bytes(path.read_bytes()[:300])


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "damaged": (broken, r"dog/001\.png: the image is damaged.*dog/003\.png.*take them out"),
    "empty class": (lambda p: (p / "train" / "eel").mkdir(), r"train/eel holds no image"),
    "unknown class": (lambda p: fill(p / "test", {"eel": 1}), r"test/eel is a class that .* not"),
    "one class": (lambda p: shutil.rmtree(p / "train" / "dog"), r"train has 1 folder of"),
    "no class": (lambda p: shutil.rmtree(p / "train"), r"pets has 1 folder of images"),
    "no test image": (
        lambda p: [shutil.rmtree(p / "test" / name) for name in ("cat", "dog")],
        r"test holds no image below",
    ),
    "odd name": (lambda p: fill(p / "train", {"a\nb": 1}), r"a\\nb: a class needs a printable"),
    "one image": (
        lambda p: [shutil.rmtree(p / "test"), fill(p / "train", {"eel": 1})],
        r"train/eel has one image",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_folder_is_named(fault: str, pets: Path) -> None:
    spoil, message = FAULTS[fault]
    spoil(pets)
    with pytest.raises(DataError, match=message):
        load(own(pets))


def test_what_is_no_folder_of_images_is_refused(tmp_path: Path) -> None:
    for config, message in {
        DataConfig("folder"): "needs --data-dir",
        DataConfig("npz"): "needs --data-dir, the file",
        own(tmp_path / "gone"): "gone is no folder",
        own(tmp_path): "has no folders of images",
        own(tmp_path / "gone.npz", "npz"): r"gone\.npz is no file",
    }.items():
        with pytest.raises(DataError, match=message):
            load(config)
    for call in (load, resolve):
        with pytest.raises(DataError, match=r"image_size is 64, which does nothing: .* digits"):
            call(DataConfig("digits", image_size=64))
        with pytest.raises(DataError, match=r"no data set 'pets'.*TFDS folder"):
            call(DataConfig("pets", data_dir=str(tmp_path)))


# ---- files of arrays ----


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {
        "x_train": rng.integers(0, 256, (30, 28, 28), dtype=np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8),
        "y_test": np.arange(6) % 2,
    }
    return {key: value for key, value in (found | changes).items() if value is not None}


def npz(folder: Path, content: dict[str, np.ndarray]) -> Dataset:
    np.savez(folder / "mine.npz", **content)
    return load(own(folder / "mine.npz", "npz"))


def test_a_file_of_arrays(tmp_path: Path) -> None:
    dataset = npz(tmp_path, arrays())
    info = dataset.info
    assert (info.name, info.title, info.class_names) == ("npz", "mine", ("0", "1", "2"))
    assert (dataset.train.images.shape, info.native) == ((30, 32, 32, 3), (32, 32, 1))
    np.testing.assert_array_equal(dataset.train.labels, np.arange(30) % 3)
    # Names from the file; labels [N, 1] as MedMNIST has them; names as labels.
    content = arrays()
    medical = {
        f"{split}_{what}": content[f"{key}_{split}"]
        for split in ("train", "test")
        for what, key in (("images", "x"), ("labels", "y"))
    }
    medical |= {name: medical[name][:, None] for name in medical if name.endswith("labels")}
    named = npz(tmp_path, {**medical, "class_names": np.array(["cat", "dog", "eel"])})
    assert named.info.class_names == ("cat", "dog", "eel")
    assert named.info.fingerprint == info.fingerprint
    words = np.array(["cat", "dog", "eel"])
    by_word = {key: words[content[key]] for key in ("y_train", "y_test")}
    assert npz(tmp_path, content | by_word).info == named.info
    gaps = npz(tmp_path, content | {key: 10 * content[key] + 5 for key in ("y_train", "y_test")})
    assert gaps.info.class_names == ("5", "15", "25")
    assert gaps.info.fingerprint == info.fingerprint


def test_arrays_without_test_images_are_split(tmp_path: Path) -> None:
    content = arrays()
    images = np.repeat(content["x_train"][..., None], 3, -1)
    images[..., 1] //= 2
    dataset = npz(tmp_path, {"images": images, "labels": content["y_train"]})
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), [2, 2, 2])
    assert (len(dataset.train), dataset.info.native) == (24, (32, 32, 3))
    assert "6 images, a fifth" in dataset.info.notice


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((30, 28, 28))}, "x_train are float64, but must be uint8"),
        ({"x_train": np.zeros((29, 28, 28), np.uint8)}, "x_train are 29, their labels 30"),
        ({"x_train": np.zeros((30, 28, 28, 4), np.uint8)}, "x_train have the shape"),
        ({"y_train": np.zeros(30)}, "y_train are float64"),
        ({"y_train": np.zeros(30, int)}, "at least 2 different names"),
        ({"y_test": np.arange(6)}, "a label is 3, of which there is no class; there are 0, 1, 2"),
        ({"x_test": None}, "has the arrays x_train, y_train, y_test; needed are"),
        ({"y_train": np.array([{}] * 30)}, "cannot be read"),
        ({"class_names": np.array(["a", "b"])}, "a label is 2"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        npz(tmp_path, arrays(**changes))


def test_damaged_files_of_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **arrays())
    content = (tmp_path / "whole.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "hole.npz").write_bytes(content[:2000] + bytes(500) + content[2500:])
    for name in ("one", "cut", "text", "hole"):
        with pytest.raises(DataError, match=rf"{name}\.npz"):
            load(own(tmp_path / f"{name}.npz", "npz"))


def test_arrays_in_python_may_be_resized_too() -> None:
    content = arrays()
    given = [content[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    dataset = from_arrays(*given, ["a", "b", "c"], image_size=48)
    assert dataset.train.images.shape == (30, 48, 48, 3)
    assert (dataset.info.image_size, dataset.info.native) == (48, (48, 48, 1))


# ---- what TFDS prepared ----


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Prepares a data set `shells` as TFDS does, its images in any size."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    from physjax.data.preparing import encode_png

    def make(splits: dict[str, int], features: Any = None) -> Path:
        class Shells(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = "shells"
            pkg_dir_path = tmp_path

            def _info(self) -> Any:
                kinds = features or {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["conch", "whelk"]),
                }
                keys = ("image", "label") if features is None else None
                return self.dataset_info_from_configs(
                    features=tfds.features.FeaturesDict(kinds), supervised_keys=keys
                )

            def _split_generators(self, dl_manager: Any) -> Any:
                return {name: self._generate_examples(n) for name, n in splits.items()}

            def _generate_examples(self, count: int) -> Any:
                for n in range(count):
                    pixels = np.asarray(picture(n % 2, n, (40, 36 + n)))
                    example: dict[str, Any] = {"label": n % 2, "image": encode_png(pixels)}
                    yield n, {k: v for k, v in example.items() if not features or k in features}

        builder = Shells(data_dir=tmp_path, file_format="array_record")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
        return tmp_path

    with registered.skip_registration():
        tfds.disable_progress_bar()
        yield make


def test_any_data_set_that_tfds_prepared_works_by_its_name(
    prepared: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared({"train": 8, "validation": 4})
    config = own(folder, "shells", image_size=40)
    assert resolve(config) == "shells"
    assert is_own(config)
    assert class_names(config) == ("conch", "whelk")
    dataset = load(config)
    info = dataset.info
    assert (info.name, info.version, info.image_size) == ("shells", "1.0.0", 40)
    assert (len(dataset.train), len(dataset.test)) == (8, 4)
    assert info.notice == "the test images are the split validation"
    assert "shells" not in DATASETS
    square = {np.asarray(picture(n % 2, n, (40, 40))).tobytes(): n % 2 for n in (4,)}
    matches = [i for i, x in enumerate(dataset.train.images) if x.tobytes() in square]
    assert [dataset.train.labels[i] for i in matches] == [0], "the image of 40x40 is kept"
    monkeypatch.setattr("physjax.data.tfds_any._records", None)
    assert load(config).info == info, "from the cache, without TFDS"


@pytest.mark.parametrize("tfrecords", [0, 1, 4])
@pytest.mark.parametrize("splits", [{"train": 9, "test": 4}, {"train": 9}], ids=["test", "none"])
def test_what_tfds_prepared_can_be_streamed(
    prepared: Callable[..., Path], splits: dict[str, int], tfrecords: int
) -> None:
    folder = prepared(splits)
    if tfrecords:
        published.to_tfrecord(folder / "shells" / "1.0.0", tfrecords)
    wanted = load(own(folder, "shells", image_size=40))
    for _ in range(2):  # what is found of them is remembered
        found = load(own(folder, "shells", image_size=40, mode="stream"))
        assert found.info == wanted.info
        for one, other in ((found.train, wanted.train), (found.test, wanted.test)):
            assert isinstance(one.images, LazyImages)
            np.testing.assert_array_equal(one.images, other.images)
            np.testing.assert_array_equal(one.labels, other.labels)
    file = max((folder / "shells" / "1.0.0").glob("*-train.*record*"))
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"record \d of .*shells-train.* cannot be read"):
        np.asarray(found.train.images)


def test_what_tfds_prepared_and_cannot_be_used_is_named(
    prepared: Callable[..., Path], tmp_path: Path
) -> None:
    import tensorflow_datasets as tfds

    folder = prepared({"train": 8})
    dataset = load(own(folder, "shells"))
    assert (len(dataset.train), len(dataset.test)) == (6, 2)
    assert "a fifth of each class" in dataset.info.notice
    (records,) = (folder / "shells" / "1.0.0").glob("*.array_record*")
    records.write_bytes(records.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"array_record\S* cannot be read"):
        load(own(folder, "shells"))
    (folder / "shells" / "1.0.0" / "features.json").write_text("{}")
    with pytest.raises(DataError, match=r"1\.0\.0 cannot be read"):
        load(own(folder, "shells"))
    shutil.rmtree(folder / "shells")
    prepared({"train": 4}, {"label": tfds.features.ClassLabel(num_classes=2)})
    with pytest.raises(DataError, match="has the features label, and not an image"):
        load(own(folder, "shells"))


def test_configs_and_versions_are_named_after_a_slash(prepared: Callable[..., Path]) -> None:
    """`name/config/version`, as `cifar10_corrupted/brightness_1`, of which only a test is there."""
    folder = prepared({"test": 10})
    home = folder / "shells"
    (home / "white").mkdir()
    (home / "1.0.0").rename(home / "white" / "1.0.0")
    shutil.copytree(home / "white" / "1.0.0", home / "white" / "0.9.10")
    (home / "white" / "1.0.0.incompleteABC").mkdir()
    one = load(own(folder, "shells"))
    assert (one.info.version, len(one.train), len(one.test)) == ("1.0.0", 8, 2)
    assert "the split test alone: 2 images, a fifth of each class" in one.info.notice
    shutil.copytree(home / "white", home / "black")
    with pytest.raises(DataError, match=r"several configs in .*: name one of|name one of") as error:
        load(own(folder, "shells"))
    assert "shells has several configs in" in str(error.value)
    assert str(error.value).endswith("name one of shells/black, shells/white")
    for name, version in {"shells/white": "1.0.0", "shells/white/0.9.10": "0.9.10"}.items():
        info = load(own(folder, name)).info
        assert (info.name, info.title, info.version) == (name, name, version)
        assert info.fingerprint == one.info.fingerprint
    for name, there in {
        "shells/grey": "shells/black, shells/white",
        "shells/white/2.0.0": "shells/white/0.9.10, shells/white/1.0.0",
    }.items():
        with pytest.raises(DataError, match=rf"^{name} is not there .*; name one of {there}$"):
            resolve(own(folder, name))
    for name in ("shells/../shells", "/shells", "a/b/c/d"):
        with pytest.raises(ConfigError, match=r"data\.0 is |data\.dataset is "):
            own(folder, name)


def test_a_run_of_a_config_has_a_folder_of_its_own() -> None:
    config = recipe("fast").replace(data={"dataset": "cifar10_corrupted/blur_1"})
    assert run_name(config) == "physics-cifar10_corrupted-blur_1-fast-seed0"
    names = ("a/b", "a/c")
    study = Study(models=("cnn",), laws=("none",), datasets=names, seeds=(0,))
    assert [cell.name for cell in plan(study)] == ["cnn-none-a-b-seed0", "cnn-none-a-c-seed0"]
    with pytest.raises(ConfigError, match="the same name, as '/' becomes '-'"):
        plan(dataclasses.replace(study, datasets=("a/b", "a-b")))


def test_a_record_says_what_images_were() -> None:
    given = [arrays()[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    info = from_arrays(*given, ["a", "b", "c"]).info
    assert (info.image_size, info.native) == (32, (28, 28, 1))
    assert {"image_size", "native"} <= set(DataFacts.__dataclass_fields__)
