"""The embedded digits: resizing by hand and by Pillow, and the fixed split."""

from __future__ import annotations

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits as sklearn_digits

from physjax.data import DATASETS, fingerprint
from physjax.data.digits import enlarge, load_digits

FINGERPRINT = "3f2075fb27989e1775df18176d8ad2b1b818e93bccf7c6d5350fb506919ce1b9"


def test_enlarge_by_hand() -> None:
    """0 and 16 side by side, twice as large: quarters 0, 4, 12, 16 sixteenths of 255."""
    image = np.array([[[0.0, 16.0], [0.0, 16.0]]])
    expected = [0, round(63.75), round(191.25), 255]
    np.testing.assert_array_equal(enlarge(image, 4)[0, :, :, 2], [expected] * 4)
    turned = enlarge(image.transpose(0, 2, 1), 4)
    np.testing.assert_array_equal(turned[0, :, :, 0], np.transpose([expected] * 4))


def test_enlarge_is_pillows_bilinear_resize() -> None:
    raw = sklearn_digits().images[:50]
    for image, result in zip(raw, enlarge(raw), strict=True):
        by_pillow = Image.fromarray((image * 255 / 16).astype(np.float32)).resize(
            (32, 32), Image.Resampling.BILINEAR
        )
        # Pillow rounds in float32: a half may fall to the other side.
        assert np.abs(result[..., 0] - np.asarray(by_pillow)).max() < 0.51
        assert (result == result[..., :1]).all()


def test_split_is_fixed_stratified_and_complete() -> None:
    train, test = load_digits()
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.shape == (1437, 32, 32, 3)
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int32)
    shares = np.bincount(test.labels) / (np.bincount(train.labels) + np.bincount(test.labels))
    np.testing.assert_allclose(shares, 0.2, atol=0.004)
    together = np.concatenate([train.images, test.images])[..., 0].reshape(1797, -1)
    everything = enlarge(sklearn_digits().images)[..., 0].reshape(1797, -1)
    np.testing.assert_array_equal(np.sort(together.sum(1)), np.sort(everything.sum(1)))
    assert fingerprint(train, test) == FINGERPRINT, "results would not compare with earlier ones"


def test_table_says_the_truth() -> None:
    train, test = load_digits()
    spec = DATASETS["digits"]
    assert (spec.train_examples, spec.test_examples) == (len(train), len(test))
    pixels = train.images / 255
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), spec.mean, atol=1e-4)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), spec.std, atol=1e-4)
