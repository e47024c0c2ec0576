"""The embedded data set: the 1,797 handwritten 8x8 digits that scikit-learn carries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from physjax.data.types import Split

TEST_FRACTION = 0.2
SPLIT_SEED = 0


def load_digits() -> tuple[Split, Split]:
    """The digits as 32x32x3 images, split 1,437 / 360, stratified and always the same.

    Returns:
      (train, test); images uint8 [N, 32, 32, 3], labels int32 [N].

    Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), test
    part, as `sklearn.datasets.load_digits` ships it.
    """
    # Here, not above: scikit-learn takes half a second to import, and CIFAR-10 does without.
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    raw = sklearn_digits()
    images = enlarge(raw.images)
    labels = raw.target.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_FRACTION, stratify=labels, random_state=SPLIT_SEED
    )
    return Split(images[train], labels[train]), Split(images[test], labels[test])


def enlarge(images_NHW: npt.NDArray[np.float64], side: int = 32) -> npt.NDArray[np.uint8]:
    """Grey images with values 0..16, resized bilinearly to [N, side, side, 3] in 0..255.

    Pixel centres lie at half-integers (torch's `align_corners=False`), the border is repeated;
    values are multiplied by 255/16 and rounded to the nearest integer, ties to even. For 8 -> 32
    all weights are multiples of 1/8 and 255/16 is dyadic: the result is exact on every machine.
    """
    native = images_NHW.shape[1]
    position = np.clip((np.arange(side) + 0.5) * native / side - 0.5, 0, native - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(native)))
    enlarged = np.einsum("ih,nhw,jw->nij", weights, images_NHW, weights)
    grey = np.rint(enlarged * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
