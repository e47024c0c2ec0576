"""Mixed images: the same batch for any devices and parts, and the loss of two labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers.steps import assert_close, configure, run_steps, whole_batches, without_ties
from physjax import data
from physjax.config import Config, ConfigError, run_name
from physjax.rules.energy import cost_slope
from physjax.train.batch import select_batch
from physjax.train.setup import TrainSetup
from physjax.train.state import init_state
from physjax.train.step import make_network

pytestmark = pytest.mark.quick_compile

ALL = {"randaugment": 9, "mixup": 0.4, "cutmix": 1.0, "cutout": 8}


@pytest.fixture(scope="module")
def noise() -> data.Dataset:
    return without_ties()


def setup_of(config: Config, dataset: data.Dataset, devices: int = 1) -> TrainSetup:
    return TrainSetup(config, dataset.info, len(dataset.train), devices)


def test_a_batch_is_the_same_for_any_devices_ways_and_parts(noise: data.Dataset) -> None:
    """A batch with mixup, one with CutMix, and the short last one of an epoch, of 8 images."""
    base = configure(
        model={"norm": "none"}, augment=ALL, optim={"batch_size": 48, "drop_remainder": False}
    )
    steps = (0, 1, 2, 4)
    one = list(whole_batches(setup_of(base, noise), noise, steps))
    shares = [batch.share[0] for batch in one]
    assert len(set(shares)) == 4
    assert one[-1].mask.sum() == 8
    for batch in one:
        np.testing.assert_array_equal(batch.partners, batch.targets.reshape(-1, 2)[:, ::-1].ravel())
    for way, devices, parts in (("pmap", 8, 3), ("data", 4, 2)):
        config = base.set_all({"run.sharding": way, "optim.accumulate": parts})
        many = whole_batches(setup_of(config, noise, devices), noise, steps)
        for found, wanted in zip(many, one, strict=True):
            for name in ("targets", "partners", "share", "mask"):
                np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
            # Another program may round a product and a sum once or twice.
            np.testing.assert_allclose(found.inputs, wanted.inputs, rtol=0, atol=2e-6)


def test_steps_on_mixed_images_add_up_over_devices_and_parts(noise: data.Dataset) -> None:
    config = configure(
        model={"norm": "none", "dropout": 0.3},
        augment={"mixup": 0.4},
        optim={"learning_rate": 0.02, "schedule": "constant", "warmup": 0.0},
    )
    one = run_steps(config, noise, 1, 2)
    many = run_steps(config.set("optim.accumulate", 2), noise, 2, 2)
    assert_close(many.params, one.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(many.metrics.loss_sum, one.metrics.loss_sum, rtol=1e-6)
    assert many.metrics.correct == one.metrics.correct


def test_the_loss_is_that_of_both_labels_by_their_shares(noise: data.Dataset) -> None:
    config = configure(
        model={"norm": "none", "dropout": 0.0},
        augment={"mixup": 1.0},
        optim={"label_smoothing": 0.1, "batch_size": 48, "drop_remainder": False},
    )
    setup = setup_of(config, noise)
    # The last batch of the epoch, of which 8 images are left.
    state = init_state(setup).replace(step=jnp.int32(4))

    @jax.jit
    def look(images: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
        batch = select_batch(setup, state, images, labels, jnp.arange(200), 0)
        network = make_network(setup, state, batch, 0)
        loss, outputs = network.loss(state.params, {})
        slope = cost_slope(network, outputs.logits[None], "cross-entropy")[0]
        return loss, outputs.logits, slope, batch.share, network.targets

    loss, logits, slope, share, targets = map(
        np.asarray, look(noise.train.images, noise.train.labels)
    )
    labels = noise.train.labels[192:200]
    lam = float(share[0])
    assert 0.5 < lam < 1
    minus_log = -np.asarray(jax.nn.log_softmax(logits[:8]), np.float64)

    def smoothed(wanted: np.ndarray) -> np.ndarray:
        return 0.9 * minus_log[np.arange(8), wanted] + 0.1 * minus_log.mean(1)

    others = labels.reshape(-1, 2)[:, ::-1].ravel()
    assert (labels != others).any()
    each = lam * smoothed(labels) + (1 - lam) * smoothed(others)
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-6)
    # What a rule clamps its outputs to are the same probabilities.
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    expected = lam * np.eye(10)[labels] + (1 - lam) * np.eye(10)[others]
    np.testing.assert_allclose(targets[:8], 0.9 * expected + 0.01, atol=1e-6)
    np.testing.assert_allclose(slope[:8], np.exp(-minus_log) - targets[:8], atol=1e-6)
    assert not slope[8:].any()


@pytest.mark.parametrize(
    ("fields", "devices", "message"),
    [
        ({"optim.batch_size": 40}, 8, r"takes 5 images .*--devices 5, which .*--batch-size 32"),
        ({"optim.batch_size": 40, "optim.accumulate": 4}, 2, r"takes 5 .*--devices 1, .* 32$"),
        (
            {"optim.batch_size": 5},
            1,
            r"takes 5 images .*\(devices: 1, parts: 1\); choose --batch-s",
        ),
    ],
)
def test_a_device_that_would_take_half_a_pair_is_refused(
    noise: data.Dataset, fields: dict[str, int], devices: int, message: str
) -> None:
    config = configure().set_all(fields)
    setup_of(config, noise, devices)
    for name in ("mixup", "cutmix"):
        with pytest.raises(ConfigError, match=message):
            setup_of(config.set(f"augment.{name}", 0.2), noise, devices)


def test_what_changes_images_makes_another_run() -> None:
    config = configure()
    for name, value in (("mixup", 0.2), ("cutmix", 1.0), ("randaugment", 9)):
        assert run_name(config.set(f"augment.{name}", value)) != run_name(config)
        assert run_name(config.set(f"augment.{name}", type(value)(0))) == run_name(config)
