"""Mixup and CutMix: what is drawn, against its definition, and the pixels by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from physjax.config import AugmentConfig
from physjax.data import mixing

pytestmark = pytest.mark.quick_compile

SIZE = 32


def draws(count: int, **alphas: float) -> dict[str, np.ndarray]:
    """Those of `count` batches, of two examples each: [count]."""
    config = AugmentConfig(**alphas)
    keys = jax.random.split(jax.random.key(5), count)
    drawn = jax.jit(jax.vmap(lambda key: mixing.draw(key, 2, config, SIZE)))(keys)
    for name, values in drawn.items():
        np.testing.assert_array_equal(values[:, 0], values[:, 1], err_msg=name)
    return {name: np.asarray(values[:, 0]) for name, values in drawn.items()}


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixups_share_is_the_larger_one_of_betas_two(alpha: float) -> None:
    drawn = draws(5_000, mixup=alpha)
    assert drawn.keys() == {"share"}
    assert drawn["share"].min() >= 0.5
    assert follows(drawn["share"], alpha)


def follows(shares: np.ndarray, alpha: float) -> bool:
    """Whether they are the larger one of lambda and 1 - lambda, by Kolmogorov and Smirnov's test.

    Without those so near to 1 that the grid of lambda shows, but for how many they are.
    """
    beta, most = stats.beta(alpha, alpha), 0.999

    def cdf(x: np.ndarray) -> np.ndarray:
        return beta.cdf(x) - beta.cdf(1 - x)

    below = shares[shares < most].astype(np.float64)
    shape = stats.kstest(below, lambda x: cdf(x) / cdf(most))
    number = stats.binomtest(len(below), len(shares), cdf(most))
    return min(shape.pvalue, number.pvalue) > 1e-4


def torchvisions_boxes(count: int, alpha: float) -> np.ndarray:
    """(left, top, right, bottom) as torchvision's CutMix makes them of lambda, one by one."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        half = int(0.5 * np.sqrt(1 - rng.beta(alpha, alpha)) * SIZE)
        x, y = rng.integers(0, SIZE, 2)
        low = max(x - half, 0), max(y - half, 0)
        found.append((*low, min(x + half, SIZE), min(y + half, SIZE)))
    return np.array(found)


def test_cutmixs_boxes_follow_torchvision_and_the_share_is_their_area() -> None:
    drawn = draws(5_000, cutmix=1.0)
    assert drawn["box_used"].all()
    sides = ("box_left", "box_top", "box_right", "box_bottom")
    boxes, wanted = np.stack([drawn[side] for side in sides], axis=1), torchvisions_boxes(5_000, 1)
    for i in range(4):
        assert stats.ks_2samp(boxes[:, i], wanted[:, i]).pvalue > 1e-4
    area = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) / SIZE**2 for b in (boxes, wanted)]
    assert stats.ks_2samp(*area).pvalue > 1e-4
    np.testing.assert_array_equal(drawn["share"], np.maximum(area[0], 1 - area[0]))
    np.testing.assert_array_equal(drawn["box_own"], area[0] > 0.5)


def test_with_both_on_a_batch_takes_either_as_often_as_not() -> None:
    drawn = draws(4_000, mixup=0.2, cutmix=1.0)
    used = drawn["box_used"]
    assert abs(used.mean() - 0.5) < 0.03
    assert follows(drawn["share"][~used], 0.2)
    assert (drawn["share"] >= 0.5).all()


@pytest.mark.parametrize("alpha", [5e-324, 1e-6, 100.0])
def test_any_alpha_gives_a_share(alpha: float) -> None:
    share = draws(200, mixup=alpha)["share"]
    assert np.isfinite(share).all()
    assert (share == 1).all() if alpha < 1 else share.max() < 0.8


def test_pairs_are_mixed_by_hand() -> None:
    """Rows 0 and 1, 2 and 3: whole, by a box, and by a box so large that the roles are changed."""
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    exchanged = images[[1, 0, 3, 2]]
    np.testing.assert_array_equal(mixing.partners(jnp.arange(6)), [1, 0, 3, 2, 5, 4])

    def mixed(**values: float) -> np.ndarray:
        rows = {name: jnp.full(4, value) for name, value in values.items()}
        return np.asarray(mixing.apply(rows, jnp.asarray(images)))

    np.testing.assert_allclose(mixed(share=0.75), 0.75 * images + 0.25 * exchanged, atol=1e-6)
    box = {"box_top": 1, "box_bottom": 3, "box_left": 4, "box_right": 8}
    small = mixed(share=0.875, **box, box_own=False, box_used=True)
    wanted = images.copy()
    wanted[:, 1:3, 4:8] = exchanged[:, 1:3, 4:8]
    np.testing.assert_array_equal(small, wanted)
    large = mixed(share=0.875, **box, box_own=True, box_used=True)
    np.testing.assert_array_equal(large, wanted[[1, 0, 3, 2]])
    unused = mixed(share=0.75, **box, box_own=False, box_used=False)
    np.testing.assert_allclose(unused, 0.75 * images + 0.25 * exchanged, atol=1e-6)
