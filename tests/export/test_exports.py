"""A run taken out by the command, and each file loaded by the other side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import physjax
from helpers.exports import small_run
from physjax import cli
from physjax.export import EXPORTS, WeightsError, read_safetensors
from physjax.export.card import model_card
from physjax.nn.fold import fold

pytest.importorskip("safetensors", reason="safetensors is missing: install the extra `export`")
pytest.importorskip("onnxruntime", reason="onnxruntime is missing")

pytestmark = pytest.mark.quick_compile

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> physjax.Run:
    return small_run(tmp_path_factory.mktemp("runs"), epochs=3, ema=0.5)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["physjax export", *map(str, words)])
        code = cli.run("export")
        return code, *capsys.readouterr()

    return called


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return physjax.load_dataset(physjax.recipe("smoke").data).test.images[:5]


LOADED = """
import sys
import numpy as np
for name in {blocked}:
    sys.modules[name] = None  # importing it fails
images = np.load("images.npy")
{code}
np.save("logits.npy", np.asarray(logits))
"""


def by_the_card(folder: Path, card: Path, images: np.ndarray, blocked: list[str]) -> np.ndarray:
    """What the code on a model card makes of images, in a process of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    np.save(folder / "images.npy", images)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED.format(code=code, blocked=blocked)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(physjax.__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(np.load(folder / "logits.npy"))


@pytest.mark.parametrize(
    ("to", "blocked"),
    [
        ("stablehlo", ["physjax", "flax", "optax"]),
        ("onnx", ["physjax", "jax", "flax"]),
        ("safetensors", []),
    ],
)
def test_the_other_side_gives_the_same_logits(
    to: str, blocked: list[str], run: physjax.Run, images: np.ndarray, call: Call
) -> None:
    folder = run.path / "export"
    code, out, err = call(run.path, "--to", to)
    file = folder / f"model{EXPORTS[to].suffix}"
    card = folder / f"{file.name}.md"
    assert (code, out.split(), err) == (0, [str(file), str(card)], "")
    wanted = run.portable().predict(images)
    found = by_the_card(folder, card, images, blocked)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    # And they are the run's: what it predicts, its forces folded or not.
    probabilities = np.exp(found - np.logaddexp.reduce(found, 1, keepdims=True))
    np.testing.assert_allclose(probabilities, run.predict(images), atol=1e-4)
    assert not run.portable(merge=False).folded
    np.testing.assert_allclose(run.portable(merge=False).predict(images), wanted, atol=1e-4)


def test_the_card_says_what_the_record_says(run: physjax.Run) -> None:
    card = model_card(run.portable(), EXPORTS["onnx"], Path("model.onnx"))
    result = run.result
    for text in (
        "| data | scikit-learn digits, 80 train, 360 test images |",
        result.data.fingerprint,
        "| recipe | `smoke`, 3 epochs |",
        "model.law = ring",
        "optim.ema = 0.5",
        "| seed | 5 |",
        f"| test accuracy | {result.test_accuracy:.2%} of n = 360 images",
        "trained with the force law `ring`",
        "plain network with the same logits",
        "mean 0.3054, 0.3054, 0.3054",
        "in this order: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9.",
        "## Limits",
    ):
        assert text in re.sub(r"\s+", " ", card) or text in card, text
    kept = model_card(run.portable(merge=False), EXPORTS["onnx"], Path("model.onnx"))
    assert "The forces are computed as a part of the network." in kept
    assert str(run.path) not in card


def test_safetensors_hold_the_folded_arrays_and_come_back(
    run: physjax.Run,
    images: np.ndarray,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from safetensors.numpy import load_file

    path = run.export("safetensors", tmp_path / "mine.safetensors")
    arrays = load_file(path)
    folded = fold(run.variables, "ring")["params"]
    np.testing.assert_array_equal(arrays["params.conv1.kernel"], folded["conv1"]["kernel"])
    np.testing.assert_array_equal(arrays["params.conv1.norm.bias"], folded["conv1"]["norm"]["bias"])
    assert "batch_stats.conv1.norm.mean" in arrays
    assert not [name for name in arrays if "neighbor" in name]
    again = read_safetensors(path)
    np.testing.assert_array_equal(again.predict(images), run.portable().predict(images))
    assert again.info.class_names == run.class_names
    # The file alone predicts image files, too.
    picture = tmp_path / "a.png"
    Image.fromarray(images[0]).save(picture)
    monkeypatch.setattr(sys, "argv", ["physjax predict", str(path), str(picture), "--json"])
    assert cli.run("predict") == 0
    (found,) = json.loads(capsys.readouterr().out)
    best = run.predict(images[:1])[0]
    assert found["classes"][0]["class"] == run.class_names[best.argmax()]
    assert found["classes"][0]["probability"] == pytest.approx(best.max(), abs=1e-4)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--tta", "mirror"])
    assert cli.run("predict") == 2
    assert "needs a run" in capsys.readouterr().err
    # With the forces as they are, and from there to another format.
    code, _, err = call(run.path, "--to", "safetensors", "--no-fold", "--out", tmp_path / "kept")
    assert (code, err) == (0, "")
    kept = tmp_path / "kept" / "model.safetensors"
    assert "params.conv1.neighbor_forces" in load_file(kept)
    code, out, err = call(kept, "--from", "safetensors", "--to", "onnx", "stablehlo")
    assert (code, err) == (0, "")
    assert len(out.split()) == 4
    found = by_the_card(kept.parent, kept.parent / "model.onnx.md", images, ["jax"])
    np.testing.assert_allclose(found, run.portable().predict(images), atol=1e-4)


def test_one_file_may_be_named(run: physjax.Run, tmp_path: Path, call: Call) -> None:
    assert call(run.path, "--to", "onnx", "--out", tmp_path / "a" / "mine.onnx")[0] == 0
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["mine.onnx", "mine.onnx.md"]


def test_what_cannot_be_exported_is_said(
    run: physjax.Run, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.safetensors").write_bytes(b"no")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    for words, message in {
        (run.path,): "name formats: --to stablehlo onnx safetensors torch",
        (run.path, "--to", "onxx"): "there is no export format 'onxx'.*did you mean 'onnx'",
        (run.path, "--to", "torch"): "torch holds the plain AlexNet.*but it is cnn, size cifar",
        (run.path, "--to", "onnx", "--class-names", names): "goes with --from torch",
        (tmp_path, "--to", "onnx"): "holds no run",
        (tmp_path / "gone.pth", "--from", "torch", "--to", "onnx"): "there is no such file",
        (tmp_path / "no.safetensors", "--from", "safetensors", "--to", "onnx"): "no export of",
    }.items():
        code, _, err = call(*words)
        assert code == 2
        assert re.search(message, err), err
        assert "Traceback" not in err
    assert {p.name for p in tmp_path.iterdir()} == {"no.safetensors", "names.txt"}
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(WeightsError, match=r"onnx is not installed: pip install 'physjax\[export"):
        run.export("onnx", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_names_of_formats_are_those_of_their_files() -> None:
    assert list(EXPORTS) == ["stablehlo", "onnx", "safetensors", "torch"]
    suffixes = {EXPORTS[name].suffix for name in EXPORTS}
    assert len(suffixes) == len(EXPORTS)
    assert json.dumps(sorted(suffixes))
