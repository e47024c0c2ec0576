"""The augmentation's statistics, and its pixels against NumPy, Pillow and hand arithmetic."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from physjax.config import RECIPES, AugmentConfig, ConfigError
from physjax.data import augment

pytestmark = pytest.mark.quick_compile

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
PLAIN = AugmentConfig(crop="none", mirror=False, cutout=0)

# Compiled: op by op, JAX would compile each of some dozens of operations.
draw_batch = jax.jit(augment.draw, static_argnums=(1, 2, 3, 4, 5))
apply = jax.jit(augment.apply, static_argnums=(2, 3, 4, 5))
preprocess = jax.jit(augment.preprocess, static_argnums=(1, 2, 3, 4))


def photos(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def normalised(pixels: np.ndarray, mean: Any = MEAN, std: Any = STD) -> np.ndarray:
    return (pixels.astype(np.float64) / 255 - np.array(mean)) / np.array(std)


def draws_of(**values: Any) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in values.items()}


def draw(count: int, config: AugmentConfig, **changes: Any) -> dict[str, np.ndarray]:
    arguments = {"image_size": 32, "out_size": 32, "mirror": True} | changes
    drawn = draw_batch(jax.random.key(7), count, config, *arguments.values())
    return {name: np.asarray(value) for name, value in drawn.items()}


def assert_uniform(values: np.ndarray, low: int, high: int) -> None:
    """Chi-square at 1e-4 over the integers low .. high; the draws are fixed, so this is stable."""
    counts = np.bincount(values - low, minlength=high - low + 1)
    assert len(counts) == high - low + 1
    assert stats.chisquare(counts).pvalue > 1e-4


def test_crop_offsets_and_mirror_are_uniform_and_independent() -> None:
    drawn = draw(20_000, AugmentConfig(crop="pad", pad=4, cutout=0))
    assert set(drawn) == {"top", "left", "mirror"}
    assert_uniform(drawn["top"], 0, 8)
    assert_uniform(drawn["left"], 0, 8)
    assert abs(drawn["mirror"].mean() - 0.5) < 0.015
    together = np.corrcoef([drawn["top"], drawn["left"], drawn["mirror"]])
    assert np.abs(together - np.eye(3)).max() < 0.03


def test_nothing_is_drawn_that_is_not_wanted() -> None:
    assert draw(4, PLAIN) == {}
    assert set(draw(4, AugmentConfig(crop="none", cutout=0), mirror=False)) == set()
    assert set(draw(4, AugmentConfig(crop="none", cutout=0), mirror=True)) == {"mirror"}
    assert set(draw(4, AugmentConfig(crop="pad", cutout=8), mirror=False)) == {
        "top",
        "left",
        "cutout_row",
        "cutout_column",
    }


def test_switching_one_change_on_leaves_the_others_draws_alone() -> None:
    with_cutout = draw(16, AugmentConfig(cutout=8))
    for name, values in draw(16, AugmentConfig(cutout=0)).items():
        np.testing.assert_array_equal(values, with_cutout[name])


def test_cutout_centres_are_uniform_over_the_output() -> None:
    drawn = draw(40_000, AugmentConfig(cutout=8), out_size=24)
    assert_uniform(drawn["cutout_row"], 0, 23)
    assert_uniform(drawn["cutout_column"], 0, 23)


def torchvisions_boxes(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """(top, left, height, width) as RandomResizedCrop.get_params defines them, one by one."""
    found = []
    for _ in range(count):
        box = (0, 0, size, size)
        for _ in range(10):
            area = size * size * rng.uniform(0.08, 1.0)
            aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= size and 0 < height <= size:
                top = rng.integers(0, size - height + 1)
                box = (top, rng.integers(0, size - width + 1), height, width)
                break
        found.append(box)
    return np.array(found)


def test_the_papers_boxes_follow_torchvision() -> None:
    """RandomResizedCrop(224) and RandomHorizontalFlip(), against their definition drawn by NumPy.

    Of 20,000 boxes each: sides, area, aspect and centre by Kolmogorov and Smirnov's test, and the
    flip by its count. All is seeded: a p value of 1e-3 is no chance that the test takes.
    """
    config = RECIPES["paper"].augment
    drawn = draw(20_000, config, out_size=224)
    assert set(drawn) == {"top", "left", "height", "width", "mirror"}
    boxes = np.stack([drawn[name] for name in ("top", "left", "height", "width")], axis=1)
    assert (boxes[:, :2] + boxes[:, 2:]).max() == 32
    assert boxes[:, :2].min() == 0
    assert boxes[:, 2:].min() >= 1

    def features(boxes: np.ndarray) -> dict[str, np.ndarray]:
        top, left, height, width = boxes.T.astype(float)
        return {
            "height": height,
            "width": width,
            "area": height * width,
            "aspect": width / height,
            "centre, down": top + height / 2,
            "centre, across": left + width / 2,
        }

    ours = features(boxes)
    theirs = features(torchvisions_boxes(np.random.default_rng(0), 20_000, 32))
    for name, values in ours.items():
        assert stats.ks_2samp(values, theirs[name]).pvalue > 1e-3, name
    # Given the side, the corner is uniform over the places where the box fits.
    assert_uniform(drawn["top"][drawn["height"] == 24], 0, 8)
    assert_uniform(drawn["left"][drawn["width"] == 24], 0, 8)
    assert stats.binomtest(int(drawn["mirror"].sum()), 20_000).pvalue > 1e-3
    for name, values in ours.items():
        assert abs(np.corrcoef(values, drawn["mirror"])[0, 1]) < 0.03, name


def test_a_box_that_never_fits_becomes_the_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "AREA", (4.0, 5.0))
    drawn = jax.jit(
        lambda key: augment.draw(key, 8, AugmentConfig(crop="resized", cutout=0), 32, 32, True)
    )(jax.random.key(0))
    assert (drawn["height"] == 32).all()
    assert (drawn["width"] == 32).all()
    assert (drawn["top"] == 0).all()
    assert (drawn["left"] == 0).all()


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    pad=st.integers(0, 7),
    top=st.integers(0, 14),
    left=st.integers(0, 14),
    mirror=st.booleans(),
)
def test_padded_crop_is_numpy_reflection(pad: int, top: int, left: int, mirror: bool) -> None:
    top, left = min(top, 2 * pad), min(left, 2 * pad)
    image = photos(1, size=8, seed=pad)
    padded = np.pad(image[0], ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    expected = padded[top : top + 8, left : left + 8]
    if mirror:
        expected = expected[:, ::-1]
    drawn = draws_of(top=[top], left=[left], mirror=[mirror])
    result = apply(drawn, jnp.asarray(image), AugmentConfig(pad=pad, cutout=0), 8, MEAN, STD)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result[0], normalised(expected), atol=2e-6)


def test_each_image_gets_its_own_draws_whatever_the_slice() -> None:
    """All at once, in slices, and mapped one by one: the same batch."""
    config = AugmentConfig(cutout=6)
    images = jnp.asarray(photos(12))
    drawn = draw_batch(jax.random.key(1), 12, config, 32, 32, True)
    assert len({tuple(np.asarray(v)[i] for v in drawn.values()) for i in range(12)}) == 12
    whole = apply(drawn, images, config, 32, MEAN, STD)
    for start in (0, 4, 8):
        part = {name: value[start : start + 4] for name, value in drawn.items()}
        sliced = apply(part, images[start : start + 4], config, 32, MEAN, STD)
        # Another program: a multiplication and an addition may be rounded once or twice.
        np.testing.assert_allclose(sliced, whole[start : start + 4], atol=2e-6)

    def one(single: dict[str, jax.Array], image: jax.Array) -> jax.Array:
        single = {name: value[None] for name, value in single.items()}
        return augment.apply(single, image[None], config, 32, MEAN, STD)[0]

    np.testing.assert_allclose(jax.jit(jax.vmap(one))(drawn, images), whole, atol=2e-6)


def test_jit_and_draws_are_pure_functions_of_the_key() -> None:
    config = AugmentConfig(crop="resized", cutout=4)
    images = jnp.asarray(photos(6))

    def batch(key: jax.Array) -> jax.Array:
        drawn = augment.draw(key, 6, config, 32, 32, True)
        return apply(drawn, images, config, 32, MEAN, STD)

    compiled = jax.jit(batch)
    first = compiled(jax.random.key(3))
    np.testing.assert_array_equal(first, compiled(jax.random.key(3)))
    drawn = draw_batch(jax.random.key(3), 6, config, 32, 32, True)
    np.testing.assert_allclose(first, apply(drawn, images, config, 32, MEAN, STD), atol=1e-5)
    assert np.abs(first - compiled(jax.random.key(4))).max() > 1


@pytest.mark.parametrize("mirror", [False, True])
def test_resized_crop_is_pillows_bilinear_resize(mirror: bool) -> None:
    """Pillow in float mode, the box cropped first, as torchvision does."""
    image = photos(1)
    top, left, height, width, out = 3, 5, 20, 17, 48
    channels = [
        Image.fromarray(image[0, top : top + height, left : left + width, c].astype(np.float32))
        for c in range(3)
    ]
    resized = np.stack(
        [np.asarray(c.resize((out, out), Image.Resampling.BILINEAR)) for c in channels], axis=-1
    )
    drawn = draws_of(top=[top], left=[left], height=[height], width=[width], mirror=[mirror])
    config = AugmentConfig(crop="resized", cutout=0)
    result = apply(drawn, jnp.asarray(image), config, out, MEAN, STD)
    expected = normalised(resized[:, ::-1] if mirror else resized)
    np.testing.assert_allclose(result[0], expected, atol=1e-4)


def test_bilinear_by_hand() -> None:
    """Two pixels 0 and 240 enlarged to four: 0, 60, 180, 240 in each direction."""
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[:, :, 1] = 240
    result = apply({}, jnp.asarray(image), PLAIN, 4, (0.0,) * 3, (1.0,) * 3)
    np.testing.assert_allclose(result[0, 2, :, 1] * 255, [0, 60, 180, 240], rtol=1e-5)
    turned = jnp.asarray(image.transpose(0, 2, 1, 3))
    result = apply({}, turned, PLAIN, 4, (0.0,) * 3, (1.0,) * 3)
    np.testing.assert_allclose(result[0, :, 2, 1] * 255, [0, 60, 180, 240], rtol=1e-5)


def test_cutout_sets_a_square_to_the_mean_and_the_border_cuts_it() -> None:
    images = jnp.asarray(photos(2))
    config = AugmentConfig(crop="none", mirror=False, cutout=6)
    drawn = draws_of(cutout_row=[10, 1], cutout_column=[20, 31])
    result = np.asarray(apply(drawn, images, config, 32, MEAN, STD))
    expected = normalised(np.asarray(images))
    expected[0, 7:13, 17:23] = 0
    expected[1, 0:4, 28:32] = 0
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert (result[0, 7:13, 17:23] == 0).all()


def test_preprocess_native_is_the_unaugmented_batch() -> None:
    images = jnp.asarray(photos(3))
    for config in (PLAIN, AugmentConfig(cutout=0), AugmentConfig(crop="resized", cutout=0)):
        np.testing.assert_allclose(
            preprocess(images, 32, MEAN, STD, config),
            normalised(np.asarray(images)),
            atol=2e-6,
        )
    np.testing.assert_allclose(
        apply({}, images, PLAIN, 32, MEAN, STD),
        preprocess(images, 32, MEAN, STD, PLAIN),
        atol=2e-6,
    )


def test_preprocess_imagenet_is_resize_256_centre_crop_224() -> None:
    image = photos(1)
    config = AugmentConfig(crop="resized", normalize="imagenet", cutout=0)
    result = preprocess(jnp.asarray(image), 224, MEAN, STD, config)
    channels = [Image.fromarray(image[0, :, :, c].astype(np.float32)) for c in range(3)]
    resized = np.stack(
        [np.asarray(c.resize((256, 256), Image.Resampling.BILINEAR)) for c in channels], axis=-1
    )
    expected = normalised(resized[16:240, 16:240], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    np.testing.assert_allclose(result[0], expected, atol=1e-4)


def pillows_chain(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Resize(size) of an 8-bit image as torchvision does it, and ToTensor()."""
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float64) / 255


def test_the_papers_pixels_are_those_of_torchvisions_chain() -> None:
    """The recipe's transforms of 8-bit images, training and evaluation, with all that they round.

    Pillow rounds to whole levels after each direction, physjax not at all: what is left is one
    level of 255 at most, and 0.3 on average. Pillow smooths before it shrinks (torchvision's
    `antialias`); here 32 pixels or fewer become 224 or 256, where smoothing is no change.
    """
    config = RECIPES["paper"].augment
    mean, std = np.array(augment.IMAGENET_MEAN), np.array(augment.IMAGENET_STD)
    images = photos(24)
    drawn = draw(24, config, out_size=224)
    made = apply(draws_of(**drawn), jnp.asarray(images), config, 224, MEAN, STD)
    seen = preprocess(jnp.asarray(images), 224, MEAN, STD, config)
    assert drawn["mirror"].any()
    assert not drawn["mirror"].all()
    for i, image in enumerate(images):
        top, left, height, width = (drawn[k][i] for k in ("top", "left", "height", "width"))
        whole = Image.fromarray(image)
        crop = whole.crop((left, top, left + width, top + height))
        expected = pillows_chain(crop, (224, 224))
        if drawn["mirror"][i]:
            expected = expected[:, ::-1]
        centre = pillows_chain(whole, (256, 256))[16:240, 16:240]
        for got, wanted in ((made[i], expected), (seen[i], centre)):
            levels = 255 * np.abs(np.asarray(got, np.float64) * std + mean - wanted)
            assert levels.max() < 1.01
            assert levels.mean() < 0.4


def test_preprocess_without_resized_crops_keeps_the_whole_image() -> None:
    """Training on whole, enlarged images is evaluated on whole, enlarged images."""
    images = jnp.asarray(photos(2, size=8))
    np.testing.assert_allclose(
        preprocess(images, 20, MEAN, STD, PLAIN),
        apply({}, images, PLAIN, 20, MEAN, STD),
        atol=2e-6,
    )


def test_more_padding_than_there_is_to_reflect_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"pad is 32, but .* 32 pixels gives at most 31"):
        draw(2, AugmentConfig(pad=32))
