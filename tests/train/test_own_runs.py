"""Images of one's own from the command to the answer: train, go on, evaluate, predict, study."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import physjax
from physjax import cli
from physjax.evaluate.robustness import evaluate
from physjax.records import RunFolder
from physjax.records.provenance import OriginError
from physjax.study.design import Study
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.train.loop import fit

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and bright pictures, which a network tells apart after an epoch."""
    root = tmp_path_factory.mktemp("own") / "shades"
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 10)):
        for name, level in (("bright", 150), ("dark", 0)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = level + rng.integers(0, 100, (50, 40, 3))
                image = Image.fromarray(pixels.astype(np.uint8))
                image.save(root / split / name / f"{number}.png")
    return root


def configure(folder: Path, images: Path) -> physjax.Config:
    return physjax.recipe("smoke").replace(
        model={"name": "cnn", "law": "ring", "width": 0.1},
        data={"dataset": "folder", "data_dir": str(images), "train_examples": None},
        optim={"epochs": 3, "batch_size": 16},
        run={"runs_dir": str(folder), "devices": 1},
    )


@pytest.fixture(scope="module")
def run(shades: Path, tmp_path_factory: pytest.TempPathFactory) -> physjax.Run:
    return physjax.fit(configure(tmp_path_factory.mktemp("runs"), shades))


def test_a_run_on_a_folder_says_what_it_saw(run: physjax.Run, shades: Path) -> None:
    facts = run.result.data
    assert (facts.name, facts.title, facts.class_names) == ("folder", "shades", ("bright", "dark"))
    assert facts.examples == {"train": 80, "test": 20}
    assert (facts.image_size, facts.native) == (32, (32, 32, 3))
    assert facts.mean is not None
    assert 0.4 < facts.mean[0] < 0.6
    assert run.config.data.image_size == 32, "the record says what the network saw"
    assert run.result.test_accuracy > 0.8
    found = run.predict(sorted((shades / "test" / "dark").iterdir()))
    assert np.mean(found.argmax(1) == 1) > 0.8
    record = evaluate(run.path)
    assert record.clean.accuracy == pytest.approx(run.result.test_accuracy, abs=0.051)
    # Moved, and named by --data-dir; other images are refused.
    moved = shades.with_name("moved")
    moved.symlink_to(shades)
    assert evaluate(run.path, data_dir=str(moved)).clean.accuracy == record.clean.accuracy


def test_other_images_are_another_run(run: physjax.Run, shades: Path, tmp_path: Path) -> None:
    again = fit(run.config)
    assert again == run.record
    other = tmp_path / "other"
    for split in ("train", "test"):
        for name in ("bright", "dark"):
            (other / split / name).mkdir(parents=True)
            for number in range(10):
                source = shades / split / name / f"{number}.png"
                (other / split / name / f"{number}.png").write_bytes(source.read_bytes())
    with pytest.raises(OriginError, match="the images of folder were"):
        fit(run.config.set("data.data_dir", str(other)))
    with pytest.raises(physjax.RecordError, match="are not those"):
        evaluate(run.path, data_dir=str(other))


def test_the_original_network_sees_images_in_its_own_size(shades: Path, tmp_path: Path) -> None:
    config = configure(tmp_path, shades).replace(
        model={"name": "resnet18", "size": "imagenet", "law": "default"}
    )
    from physjax.train.choices import resolve_choices

    assert resolve_choices(config).data.image_size == 224
    asked = config.set("data.image_size", 256)
    assert resolve_choices(asked).data.image_size == 256
    assert resolve_choices(config.set("data.dataset", "digits")).data.image_size is None


def test_a_study_of_ones_own_images(shades: Path, tmp_path: Path) -> None:
    study = Study(
        models=("cnn",),
        laws=("none", "ring"),
        datasets=("folder",),
        seeds=(0,),
        recipe="smoke",
        config={
            "data": {"train_examples": 40, "image_size": 40},
            "model": {"width": 0.1},
            "optim": {"epochs": 1, "batch_size": 16},
        },
        tta="mirror",
    )
    paths = Paths(tmp_path / "results", tmp_path / "runs", str(shades), 1)
    done = run_study("shades", study, paths)
    assert len(done) == 2
    for record in done.values():
        assert record.result is not None
        assert record.result.data.image_size == 40
        assert record.result.data.source == "own0/shades" or "shades" in record.result.data.source
        assert record.config.data.data_dir is None
        assert "mirror" in record.test_accuracy_tta
    assert run_study("shades", study, paths) == done


def test_the_commands(
    shades: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(command: str, *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"physjax {command}", *map(str, words)])
        code = cli.run(command)
        return code, *capsys.readouterr()

    (tmp_path / "pets").mkdir()
    for name, count in (("cat", 12), ("dog", 4)):
        (tmp_path / "pets" / name).mkdir()
        for number in range(count):
            picture = shades / "train" / "dark" / f"{number}.png"
            (tmp_path / "pets" / name / f"{number}.png").write_bytes(picture.read_bytes())
    words = ["--recipe", "smoke", "--model", "cnn", "--width", "0.1", "--dataset", "folder"]
    words += ["--train-examples", "None", "--batch-size", "4", "--epochs", "1", "--devices", "1"]
    words += ["--runs-dir", str(tmp_path / "runs"), "--name", "mine", "--data-dir"]
    assert "2 classes" in call("train", *words, tmp_path / "pets", "--summary")[1]
    code, out, err = call("train", *words, tmp_path / "pets")
    assert (code, err) == (0, "")
    assert "a fifth of each class" in out
    assert "unbalanced; training images: cat 10, dog 3" in out
    assert (tmp_path / "runs" / "mine" / "figures" / "confusion.png").exists()
    code, out, err = call("evaluate", tmp_path / "runs" / "mine")
    assert (code, err) == (0, "")
    assert "clean: accuracy" in out
    code, out, _ = call("predict", tmp_path / "runs" / "mine", tmp_path / "pets" / "cat")
    assert (code, len(out.splitlines())) == (0, 13)
    assert RunFolder(tmp_path / "runs" / "mine").read().result is not None
    broken = tmp_path / "pets" / "dog" / "2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    code, _, err = call("train", *words, tmp_path / "pets", "--fresh")
    assert code == 2
    assert err.startswith(f"error: {broken}: the image is damaged")
