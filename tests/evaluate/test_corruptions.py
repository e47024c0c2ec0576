"""Corruptions: what each does to pixels, and that harm grows with severity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from physjax.evaluate.corruptions import CORRUPTIONS, SEVERITIES, Images, corrupt, corrupt_parts


@pytest.fixture(scope="module")
def images() -> Images:
    """Smooth colour patterns, which blur, JPEG and shifts change measurably."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (40, 4, 4, 3)).astype(float)
    return ndimage.zoom(coarse, (1, 8, 8, 1), order=1).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_grows_and_images_come_back_the_same(name: str, images: Images) -> None:
    before = images.copy()
    changed = [corrupt(images, name, severity) for severity in SEVERITIES]
    distances = [np.abs(c.astype(float) - images).mean() for c in changed]
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert all(c.dtype == np.uint8 and c.shape == images.shape for c in changed)
    np.testing.assert_array_equal(corrupt(images, name, 3), changed[2])
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("at_once", [7, 40])
def test_images_are_corrupted_alike_a_few_at_a_time(images: Images, at_once: int) -> None:
    for name in CORRUPTIONS:
        parts = list(corrupt_parts(images, name, 4, at_once))
        assert [len(part) for part in parts[:-1]] == [at_once] * (len(parts) - 1)
        np.testing.assert_array_equal(np.concatenate(parts), corrupt(images, name, 4))


def test_noise_has_the_deviation_that_it_says() -> None:
    grey = np.full((50, 32, 32, 3), 128, np.uint8)
    noise = corrupt(grey, "gaussian noise", 3).astype(float) - 128
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.2)
    assert not np.array_equal(noise, corrupt(grey, "gaussian noise", 3, seed=1).astype(float) - 128)


def test_blur_of_a_point_is_a_gaussian() -> None:
    point = np.zeros((1, 32, 32, 3), np.uint8)
    point[0, 16, 16] = 255
    blurred = corrupt(point, "blur", 5)[0, :, :, 0].astype(float)
    sigma = CORRUPTIONS["blur"].strengths[4]
    assert blurred[16, 16] == pytest.approx(255 / (2 * np.pi * sigma**2), abs=1)
    assert blurred[16, 18] / blurred[16, 16] == pytest.approx(np.exp(-2 / sigma**2), abs=0.05)
    np.testing.assert_array_equal(blurred, blurred.T)


def test_brightness_adds_and_clips() -> None:
    image = np.full((1, 32, 32, 3), 10, np.uint8)
    image[0, 0, 0] = 250
    brighter = corrupt(image, "brightness", 3)[0]
    assert brighter[1, 1, 0] == 10 + 51
    assert brighter[0, 0, 0] == 255


def test_contrast_shrinks_towards_each_images_mean(images: Images) -> None:
    flat = corrupt(images, "contrast", 2).astype(float)
    np.testing.assert_allclose(flat.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=0.5)
    ratio = flat.std((1, 2, 3)) / images.std((1, 2, 3))
    np.testing.assert_allclose(ratio, 0.5, rtol=0.02)


def test_occlusion_covers_one_square_and_nothing_else(images: Images) -> None:
    covered = corrupt(images, "occlusion", 2)
    touched = (covered != images).any(-1)
    grey = (covered == 128).all(-1)
    assert grey.sum((1, 2)).min() >= 64
    for image in touched:
        rows, columns = np.nonzero(image)
        assert np.ptp(rows) < 8
        assert np.ptp(columns) < 8
    assert len({tuple(np.argwhere(t)[0]) for t in touched}) > 10


def test_shift_moves_by_whole_pixels_in_four_directions(images: Images) -> None:
    moved = corrupt(images, "shift", 4)
    seen = set()
    for before, after in zip(images, moved, strict=True):
        for down, right in ((5, 0), (-5, 0), (0, 5), (0, -5)):
            # Away from the border, where pixels repeat.
            rolled = np.roll(before, (down, right), (0, 1))[5:-5, 5:-5]
            if np.array_equal(rolled, after[5:-5, 5:-5]):
                seen.add((down, right))
                break
        else:
            pytest.fail("an image was moved otherwise")
    assert len(seen) == 4


def test_what_does_not_exist_is_refused(images: Images) -> None:
    with pytest.raises(ValueError, match="no corruption 'fog'; they are gaussian noise, blur"):
        corrupt(images, "fog", 1)
    with pytest.raises(ValueError, match="severity is 6; it must be 1, 2, 3, 4 or 5"):
        corrupt(images, "blur", 6)
