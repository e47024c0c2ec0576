"""physjax predict from end to end: files to classes, and what cannot be read."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import physjax
from helpers.exports import small_run
from physjax import cli, runtime

pytestmark = pytest.mark.quick_compile

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> physjax.Run:
    return small_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Test images as files, 150 of them, and what is none."""
    folder = tmp_path_factory.mktemp("images")
    test = physjax.load_dataset(physjax.recipe("smoke").data).test
    for index in range(150):
        Image.fromarray(test.images[index]).save(folder / f"{index:03}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: object, given: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["physjax predict", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        code = cli.run("predict")
        out = capsys.readouterr()
        return code, out.out, out.err

    return called


@pytest.fixture(scope="module")
def wanted(run: physjax.Run) -> np.ndarray:
    return run.predict(physjax.load_dataset(physjax.recipe("smoke").data).test.images[:150])


def test_files_are_predicted_as_the_arrays_are(
    run: physjax.Run, images: Path, call: Call, wanted: np.ndarray
) -> None:
    code, out, err = call(run.path, images, "--json", "--top-k", 2)
    assert (code, err) == (
        1,
        f"{images / 'notes.txt'}: it is no image of a known format\n1 of 151 could not be read\n",
    )
    found = json.loads(out)
    assert [Path(entry["image"]).name for entry in found] == [f"{i:03}.png" for i in range(150)]
    for entry, probabilities in zip(found, wanted, strict=True):
        assert [c["class"] for c in entry["classes"]] == [
            run.class_names[i] for i in np.argsort(-probabilities)[:2]
        ]
        shown = [c["probability"] for c in entry["classes"]]
        np.testing.assert_allclose(shown, np.sort(probabilities)[::-1][:2], atol=1e-5)


def test_the_same_in_python(run: physjax.Run, images: Path, wanted: np.ndarray) -> None:
    paths = sorted(images.glob("*.png"))[:5]
    np.testing.assert_allclose(run.predict(paths), wanted[:5], atol=1e-5)
    np.testing.assert_allclose(run.predict(str(paths[3])), wanted[3:4], atol=1e-5)
    labels = wanted[:5].argmax(1)
    metrics = run.evaluate(paths, labels)
    assert metrics.accuracy == 1.0
    with pytest.raises(physjax.DataError, match=r"notes\.txt: it is no image"):
        run.predict([paths[0], images / "notes.txt"])


def test_a_list_on_standard_input_and_csv(run: physjax.Run, images: Path, call: Call) -> None:
    names = f"{images}/003.png\n\n{images}/001.png\r\n"
    code, out, err = call(run.path, "-", "--csv", "--top-k", 1, given=names.encode())
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [Path(row["image"]).name for row in rows] == ["003.png", "001.png"]
    assert [row["rank"] for row in rows] == ["1", "1"]
    again = call(run.path, "-", "--csv", "--top-k", 1, given=names.replace("\r\n", "\n").encode())
    assert again[1] == out
    with_zeros = f"{images}/003.png\0{images}/001.png\0"
    assert call(run.path, "-", "--csv", "--top-k", 1, given=with_zeros.encode())[1] == out


def test_the_table(run: physjax.Run, images: Path, call: Call) -> None:
    code, out, _ = call(run.path, images / "000.png", images / "001.png", "--top-k", 99)
    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["image", *map(str, range(1, 11))]
    assert [line.split()[0] for line in lines] == [str(images / f"00{i}.png") for i in range(2)]
    assert all(line.count(" %") == 10 for line in lines)
    assert len({line.index("%") for line in lines}) == 1, "columns stand below each other"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no images are named"),
        (("IMAGE", "--top-k", "0"), "--top-k is 0"),
        (("IMAGE", "--json", "--csv"), "leave out one"),
        (("IMAGE", "--tta", "mirror"), "mirrored shows no such class"),
    ],
)
def test_what_cannot_be(
    words: tuple[str, ...], message: str, run: physjax.Run, images: Path, call: Call
) -> None:
    given = [str(images / "000.png") if word == "IMAGE" else word for word in words]
    code, out, err = call(run.path, *given)
    assert (code, out) == (2, "")
    assert message in err


def test_no_run_and_no_image(run: physjax.Run, tmp_path: Path, call: Call) -> None:
    code, out, err = call(tmp_path, tmp_path)
    assert (code, out) == (2, "")
    assert "holds no run" in err
    code, out, err = call(run.path, tmp_path / "gone.png", "--json")
    assert (code, json.loads(out)) == (1, [])
    assert "gone.png: there is no such file\n1 of 1 could not be read" in err


def start(*words: object) -> list[str]:
    return [sys.executable, "-m", "physjax", "predict", *map(str, words)]


def test_a_reader_that_has_enough_and_a_terminal(run: physjax.Run, images: Path) -> None:
    environment = {**os.environ, **runtime.environment()}
    listed = "\n".join(str(images / f"{i % 150:03}.png") for i in range(2000)).encode()
    with subprocess.Popen(
        start(run.path, "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(listed)
        process.stdin.close()
        assert process.stdout.readline().startswith(b"image ")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(600) == 0
    # On a terminal the lines stand above a bar.
    lead, follow = pty.openpty()
    with subprocess.Popen(
        start(run.path, *sorted(images.glob("*.png"))[:120]), stdout=follow, env=environment
    ) as process:
        os.close(follow)
        seen = b""
        while True:
            try:
                piece = os.read(lead, 65536)
            except OSError:  # the other end is closed
                break
            seen += piece
        assert process.wait(600) == 0
    os.close(lead)
    assert b"predicting" in seen
    assert seen.count(b".png") == 120
