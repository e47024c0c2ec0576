"""RandAugment's 14 operations against Pillow's, one by one, and where they stand in the chain."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from physjax.config import AugmentConfig
from physjax.data import augment, randaugment
from physjax.data.randaugment import OPERATIONS

pytestmark = pytest.mark.quick_compile

SIZE = 40
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}

apply = jax.jit(randaugment.apply, static_argnums=2)


def pictures() -> np.ndarray:
    """Noise; a dull slope of few levels; noise of another kind in each channel; one level."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (SIZE, SIZE, 3))
    slope = 90 + np.arange(SIZE)[:, None, None] + np.arange(SIZE)[None, :, None] * [0, 1, 2] // 3
    unlike = np.stack([rng.binomial(n, 0.4, (SIZE, SIZE)) for n in (20, 200, 255)], axis=-1)
    return np.stack([noise, slope, unlike, np.full_like(noise, 77)]).astype(np.uint8)


def pillows(name: str, image: Image.Image, magnitude: int, sign: int) -> Image.Image:
    """An operation as torchvision's RandAugment asks Pillow for it."""
    part = sign * magnitude / 30
    shift = int(150 / 331 * SIZE * part)
    maps = {
        "shear-x": (1, 0.3 * part, 0, 0, 1, 0),
        "shear-y": (1, 0, 0, 0.3 * part, 1, 0),
        "translate-x": (1, 0, -shift, 0, 1, 0),
        "translate-y": (1, 0, 0, 0, 1, -shift),
    }
    if name in maps:
        nearest = Image.Resampling.NEAREST
        return image.transform(image.size, Image.Transform.AFFINE, maps[name], nearest)
    if name in ENHANCERS:
        return ENHANCERS[name](image).enhance(1 + 0.9 * part)
    others = {
        "identity": lambda: image,
        "rotate": lambda: image.rotate(30 * part),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(magnitude / 7.5)),
        "solarize": lambda: ImageOps.solarize(image, 255 - 255 * magnitude / 30),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }
    return others[name]()


@pytest.mark.parametrize("magnitude", [9, 30])
def test_each_operation_makes_pillows_pixels(magnitude: int) -> None:
    """Every one, but for `autocontrast`: what should be whole there comes out in Pillow's floating
    point as a little less at times, and is cut off to the level below."""
    images = pictures()
    cases = [(o, s, i) for o in range(14) for s in (False, True) for i in range(len(images))]
    operation, opposite, index = (np.array(each) for each in zip(*cases, strict=True))
    draws = {"operation": operation[:, None], "opposite": opposite[:, None]}
    found = np.asarray(apply(draws, images[index], magnitude))
    assert found.dtype == np.int32
    for made, (number, other, which) in zip(found, cases, strict=True):
        name = OPERATIONS[number]
        image = Image.fromarray(images[which])
        wanted = np.asarray(pillows(name, image, magnitude, -1 if other else 1), np.int32)
        off = np.abs(made - wanted)
        assert off.max() <= (name == "autocontrast"), (name, other, which)
        assert np.mean(off > 0) < 0.03, (name, other, which)
    changed = {
        OPERATIONS[n]
        for made, (n, _, i) in zip(found, cases, strict=True)
        if (made != images[i]).any()
    }
    assert changed == set(OPERATIONS) - {"identity"}


def test_operations_come_one_after_the_other_and_each_image_has_its_own() -> None:
    images = np.repeat(pictures(), 4, axis=0)
    drawn = randaugment.draw(jax.random.key(0), len(images), 3)
    in_turn = images
    for step in range(3):
        one = {name: value[:, step : step + 1] for name, value in drawn.items()}
        in_turn = np.asarray(apply(one, in_turn, 9))
    whole = apply(drawn, images, 9)
    np.testing.assert_array_equal(whole, in_turn)
    half = jax.tree.map(lambda value: value[8:], drawn)
    np.testing.assert_array_equal(apply(half, images[8:], 9), whole[8:])


def test_operations_and_signs_are_equally_likely_and_leave_other_draws_alone() -> None:
    config = AugmentConfig(randaugment=9, randaugment_ops=2)
    draw = jax.jit(augment.draw, static_argnums=(1, 2, 3, 4, 5))
    drawn = draw(jax.random.key(1), 14_000, config, 32, 32, True)
    assert drawn["operation"].shape == drawn["opposite"].shape == (14_000, 2)
    for step in range(2):
        counts = np.bincount(drawn["operation"][:, step], minlength=14)
        assert len(counts) == 14
        assert stats.chisquare(counts).pvalue > 1e-4
        assert abs(np.mean(drawn["opposite"][:, step]) - 0.5) < 0.02
    assert abs(np.corrcoef(np.asarray(drawn["operation"]).T)[0, 1]) < 0.03
    plain = draw(jax.random.key(1), 14_000, AugmentConfig(), 32, 32, True)
    for name, values in plain.items():
        np.testing.assert_array_equal(values, drawn[name])


@pytest.mark.parametrize("crop", ["pad", "resized"])
def test_they_stand_between_mirror_and_normalisation(crop: str) -> None:
    """And a square is cut out of what they made."""
    images = np.random.default_rng(1).integers(0, 256, (14, 32, 32, 3), np.uint8)
    names = {"crop": crop, "cutout": 6}
    chain = jax.jit(augment.apply, static_argnums=(2, 3, 4, 5))
    plain = AugmentConfig(**{**names, "cutout": 0})
    config = AugmentConfig(**names, randaugment=12, randaugment_ops=1)
    drawn = augment.draw(jax.random.key(2), 14, config, 32, 32, True)
    drawn["operation"] = jnp.arange(14)[:, None]
    levels = np.rint(chain(drawn, images, plain, 32, (0.0,) * 3, (1 / 255,) * 3))
    wanted = (np.asarray(apply(drawn, levels, 12)) / 255 - MEAN) / STD
    found = np.asarray(chain(drawn, images, config, 32, MEAN, STD))
    cut = found == 0
    assert 100 < cut.sum() < 14 * 6 * 6 * 3 + 100
    np.testing.assert_allclose(found[~cut], wanted[~cut], atol=1e-5)
