"""One's own arrays as a data set: what becomes of them, and what is refused by its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physjax.config import DataConfig
from physjax.data import DataError, fingerprint, from_arrays, select
from physjax.data.pixels import to_rgb

NAMES = ["cat", "dog", "newt"]


def arrays(side: tuple[int, ...] = (9, 8, 3), **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {
        "train_images": rng.integers(0, 256, (30, *side), dtype=np.uint8),
        "train_labels": np.arange(30) % 3,
        "test_images": rng.integers(0, 256, (6, *side), dtype=np.uint8),
        "test_labels": np.array([0, 1, 0, 1, 0, 1], np.uint8),
        "class_names": NAMES,
    }
    return found | changes


def test_arrays_become_a_data_set() -> None:
    given = arrays()
    dataset = from_arrays(**given, name="pets-2", title="Pets", mirror=True)
    images = np.zeros((30, 32, 32, 3), np.uint8)
    images[:, 11:20, 12:20] = given["train_images"]  # 23 rows: 11 above, 12 below
    np.testing.assert_array_equal(dataset.train.images, images)
    np.testing.assert_array_equal(dataset.train.labels, given["train_labels"])
    assert dataset.train.labels.dtype == dataset.test.labels.dtype == np.int32
    info = dataset.info
    assert (info.name, info.title, info.mirror, info.num_classes) == ("pets-2", "Pets", True, 3)
    assert info.class_names == tuple(NAMES)
    np.testing.assert_allclose(info.mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(info.std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert info.fingerprint == fingerprint(dataset.train, dataset.test)
    given["train_images"][:] = 0
    assert info.fingerprint == fingerprint(dataset.train, dataset.test), "it has its own copy"
    part = select(dataset, DataConfig(train_examples=6, holdout=0.2))
    assert (len(part.train), len(part.validation or ()), part.info) == (6, 6, info)


def test_the_example_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "data.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["dataset"].train.images.shape == (30, 32, 32, 3)
    assert space["dataset"].info.fingerprint[:8] in capsys.readouterr().out


@pytest.mark.parametrize("side", [(32, 32), (31, 2, 1), (1, 1, 1), (32, 17, 3)])
def test_every_size_up_to_32_is_padded(side: tuple[int, ...]) -> None:
    given = arrays(side)
    height, width = side[:2]
    top, left = (32 - height) // 2, (32 - width) // 2
    padded = from_arrays(**given).train.images
    assert padded.shape == (30, 32, 32, 3)
    inner = given["train_images"].reshape(30, height, width, -1)
    found = padded[:, top : top + height, left : left + width]
    np.testing.assert_array_equal(found, np.broadcast_to(inner, found.shape))
    assert padded.sum(dtype=np.int64) == inner.sum(dtype=np.int64) * (3 // inner.shape[-1])


def test_larger_images_are_refused() -> None:
    with pytest.raises(DataError, match="train_images: images of 33x32 pixels are larger than"):
        from_arrays(**arrays((33, 32, 3)))
    with pytest.raises(DataError, match="images of 8x96 pixels are larger"):
        to_rgb(np.zeros((1, 8, 96, 3), np.uint8))
    with pytest.raises(DataError, match="4 channels"):
        to_rgb(np.zeros((1, 8, 8, 4), np.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": np.zeros((30, 9, 8, 3))}, "train_images are float64, but must be uint8"),
        ({"test_images": np.zeros((6, 9, 8), np.int8)}, "test_images are int8"),
        ({"train_images": np.zeros((30, 9, 8, 4), np.uint8)}, r"train_images .*\[30, 9, 8, 4\]"),
        ({"train_images": np.zeros((0, 9, 8, 3), np.uint8)}, "train_images .* no pixels"),
        ({"test_images": np.zeros((6, 0, 8, 3), np.uint8)}, "test_images .* no pixels"),
        ({"test_images": np.zeros((6, 8, 9, 3), np.uint8)}, r"test_images are \[8, 9, 3\], but"),
        ({"test_images": "pictures"}, "test_images are <U8"),
        ({"train_images": [[1], [1, 2]]}, "train_images is no array"),
        ({"train_images": np.zeros((30, 9, 8, 3), np.uint8)}, "train_images: all pixels"),
        ({"train_labels": np.arange(30.0)}, "train_labels are float64, but must be integers"),
        ({"train_labels": np.zeros(30, bool)}, "train_labels are bool"),
        ({"train_labels": np.arange(29) % 3}, r"train_labels .*\[29\], but there are 30 images"),
        ({"train_labels": np.eye(30, dtype=int)}, r"train_labels .*\[30, 30\]"),
        ({"train_labels": np.arange(30) % 3 + 1}, "train_labels go from 1 to 3, .* 0 to 2"),
        ({"test_labels": np.full(6, -1)}, "test_labels go from -1 to -1"),
        ({"test_labels": np.full(6, 2**40)}, "test_labels go from 1099511627776"),
        ({"train_labels": np.arange(30) % 2}, r"train_labels: class 2 \(newt\) has no image"),
        ({"class_names": "abc"}, "class_names is one text"),
        ({"class_names": ["a", "a", "b"]}, "class_names: at least 2 different"),
        ({"class_names": ["a"]}, "class_names: at least 2 different"),
        ({"class_names": ["a", "", "b"]}, "class_names: '' is not"),
        ({"class_names": ["a", 3, "b"]}, "class_names: 3 is not"),
        ({"name": "mnist"}, "name is 'mnist', which is a data set of the package"),
        ({"name": "auto"}, "name is 'auto'"),
        ({"name": "../evil"}, "name is '../evil', but must be"),
        ({"name": ""}, "name is '', but must be"),
        ({"title": "two\nlines"}, "title is"),
        ({"title": "x" * 81}, "title is"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(**arrays(**changes))
