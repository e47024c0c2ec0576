"""CIFAR-10-C from its folder: what is read, what is refused, and what a run makes of it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import physjax
from helpers.exports import OWN, small_run
from physjax import cli
from physjax.config import ConfigError
from physjax.data.corrupted import find_corrupted
from physjax.data.types import DataError
from physjax.evaluate.record import RobustnessRecord, read_robustness
from physjax.evaluate.robustness import evaluate
from physjax.report.robustness import report_robustness

pytestmark = pytest.mark.quick_compile

COUNT = 6
TEN = dataclasses.replace(OWN, num_classes=10, class_names=tuple("0123456789"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> physjax.Run:
    return small_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small one in the published layout: 5 severities of 6 images, of 10 classes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in ("fog", "gaussian_blur", "pixelate"):
        images = rng.integers(0, 256, (5 * COUNT, 32, 32, 3), dtype=np.uint8)
        np.save(folder / f"{name}.npy", images)
    labels = np.tile(rng.integers(0, 10, COUNT), 5).astype(np.uint8)
    np.save(folder / "labels.npy", labels)
    return folder


def test_a_severity_is_the_part_of_the_file_that_it_should_be(published: Path) -> None:
    found = find_corrupted(published, TEN)
    assert (found.title, found.examples) == ("CIFAR-10-C", COUNT)
    assert found.severities == dict.fromkeys(("fog", "gaussian_blur", "pixelate"), (1, 2, 3, 4, 5))
    whole, labels = np.load(published / "fog.npy"), np.load(published / "labels.npy")
    for severity in (1, 5):
        split = found.read("fog", severity)
        part = slice((severity - 1) * COUNT, severity * COUNT)
        np.testing.assert_array_equal(split.images, whole[part])
        np.testing.assert_array_equal(split.labels, labels[part])
        assert not isinstance(split.images, np.memmap), "no more than this is kept"
        assert split.labels.dtype == np.int32


def replaced(name: str, array: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / f"{name}.npy", array)


def cut(folder: Path) -> None:
    path = folder / "fog.npy"
    path.write_bytes(path.read_bytes()[:-1])


def pickled(folder: Path) -> None:
    np.save(folder / "fog.npy", np.array([{}], dtype=object), allow_pickle=True)


def zipped(folder: Path) -> None:
    with (folder / "fog.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3), b=np.zeros(3))


def emptied(folder: Path) -> None:
    for path in folder.glob("[!l]*.npy"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replaced("fog", np.zeros((30, 32, 32), np.uint8)), r"fog\.npy is uint8 \[30, 32, 32\]"),
        (replaced("fog", np.zeros((30, 32, 32, 3))), r"fog\.npy is float64 .* must be uint8 \[30,"),
        (replaced("fog", np.zeros((29, 32, 32, 3), np.uint8)), r"uint8 \[29, 32, 32, 3\], but"),
        (replaced("fog", np.zeros((30, 64, 64, 3), np.uint8)), r"\[30, 64, 64, 3\], but must be"),
        (replaced("labels", np.zeros(31, int)), r"labels\.npy is int64 \[31\], but must be whole"),
        (replaced("labels", np.zeros(30)), r"labels\.npy is float64"),
        (replaced("labels", np.zeros((30, 1), int)), r"labels\.npy is int64 \[30, 1\]"),
        (replaced("labels", np.full(30, 10)), r"labels from 10 to 10, but .* classes 0 to 9"),
        (replaced("labels", np.full(30, -1)), r"labels from -1 to -1"),
        (cut, r"fog\.npy cannot be read"),
        (pickled, r"fog\.npy cannot be read"),
        (zipped, r"fog\.npy holds several arrays"),
        (emptied, r"has labels\.npy, and no <corruption>\.npy beside it"),
        (lambda folder: (folder / "labels.npy").unlink(), r"CIFAR-10-C holds no corrupted images"),
        (lambda folder: (folder / "fog.npy").write_bytes(b""), r"fog\.npy cannot be read"),
    ],
)
def test_what_is_not_in_the_published_form_is_refused(
    damage: Callable[[Path], None], message: str, published: Path
) -> None:
    damage(published)
    with pytest.raises(DataError, match=message):
        find_corrupted(published, TEN)


def test_a_run_is_evaluated_on_them(run: physjax.Run, published: Path) -> None:
    record = run.evaluate(corrupted_dir=published)
    assert read_robustness(run.path) == record
    assert list(record.corruptions) == ["fog", "gaussian_blur", "pixelate"]
    assert record.examples == 360
    assert record.corrupted_source is not None
    assert record.corrupted_source.examples == COUNT
    images, labels = np.load(published / "fog.npy"), np.load(published / "labels.npy")
    hits = run.predict(images).argmax(1) == labels
    found = [metrics.accuracy for metrics in record.corruptions["fog"]]
    np.testing.assert_allclose(found, hits.reshape(5, COUNT).mean(1))
    errors = [
        np.mean([1 - metrics.accuracy for metrics in record.corruptions[name]])
        for name in ("fog", "pixelate")
    ]
    assert record.mean_corruption_error == pytest.approx(np.mean(errors))
    written = report_robustness(run.path)
    assert "robustness.png" in {path.name for path in written}
    text = written[0].read_text(encoding="utf-8")
    assert f"on CIFAR-10-C ({COUNT} images each)" in text
    assert (
        f"Mean corruption error over 2 corruptions, without gaussian_blur: {np.mean(errors):.2%}"
        in text
    )
    assert "strength" not in text


def test_those_that_are_named_alone_and_none_that_is_not_there(
    run: physjax.Run,
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["physjax evaluate", str(run.path), "--corrupted-dir", str(published)]
    monkeypatch.setattr(sys, "argv", [*words, "--corruptions", "gaussian_blur"])
    assert cli.run("evaluate") == 0
    assert capsys.readouterr().out.count("gaussian_blur ") == 5
    record = read_robustness(run.path)
    assert list(record.corruptions) == ["gaussian_blur"]
    assert record.mean_corruption_error is not None, "alone it counts"
    monkeypatch.setattr(sys, "argv", [*words, "--corruptions", "blur"])
    assert cli.run("evaluate") == 2
    assert "there is no corruption 'blur'; they are fog, gaussian" in capsys.readouterr().err


def test_the_mean_is_over_severities_first(run: physjax.Run) -> None:
    """A corruption of which fewer severities were prepared weighs as much as the others."""
    record = evaluate(run.path, corruptions=["blur", "shift"], severities=[1, 5])
    blur, shift = (record.corruptions[name] for name in ("blur", "shift"))
    uneven = RobustnessRecord(**{**vars(record), "corruptions": {"blur": blur, "shift": shift[:1]}})
    wanted = np.mean([np.mean([1 - m.accuracy for m in blur]), 1 - shift[0].accuracy])
    assert uneven.mean_corruption_error == pytest.approx(wanted)


def test_rings_and_gates_from_python(run: physjax.Run) -> None:
    record = run.evaluate(permute_ring=2)
    assert [ring.order for ring in record.permuted_rings] == [1, 2]
    with pytest.raises(ConfigError, match="'ring' has no gates to look at"):
        run.evaluate(gates=True)
    with pytest.raises(ConfigError, match="permuted 1001 times; it must be 0 to 1000"):
        run.evaluate(permute_ring=1001)
    with pytest.raises(ConfigError, match="are for the run's own test images"):
        run.evaluate(np.zeros((1, 32, 32, 3), np.uint8), [0], gates=True)  # type: ignore[call-overload]


def test_tfds_has_a_folder_for_each_corruption_and_severity(tmp_path: Path) -> None:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    from physjax.data.preparing import encode_png

    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)

    with registered.skip_registration():

        class Cifar10Corrupted(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            name = "cifar10_corrupted"
            pkg_dir_path = tmp_path

            def _info(self) -> Any:
                features = {
                    "image": tfds.features.Image(shape=(32, 32, 3)),
                    "label": tfds.features.ClassLabel(names=list("0123456789")),
                }
                return self.dataset_info_from_configs(
                    features=tfds.features.FeaturesDict(features),
                    supervised_keys=("image", "label"),
                )

            def _split_generators(self, dl_manager: Any) -> Any:
                return {"test": self._generate_examples()}

            def _generate_examples(self) -> Any:
                for n, image in enumerate(images):
                    yield n, {"image": encode_png(image), "label": n}

        tfds.disable_progress_bar()
        builder = Cifar10Corrupted(data_dir=tmp_path, file_format="array_record")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    home = tmp_path / "cifar10_corrupted"
    (home / "fog_2").mkdir()
    (home / "1.0.0").rename(home / "fog_2" / "1.0.0")
    found = find_corrupted(home, TEN)
    assert (found.examples, found.severities) == (COUNT, {"fog": (2,)})
    split = found.read("fog", 2)
    np.testing.assert_array_equal(split.images[np.argsort(split.labels)], images)
    with pytest.raises(DataError, match=r"has the classes 0, 1, .* but the network knows a, b"):
        find_corrupted(home, OWN)
