"""Devices: any number of them, sharing a step in any way, take the same batches and steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from helpers import runs
from helpers.limits import UpAt
from helpers.steps import assert_close, batch_digests, configure, states_of, without_ties
from physjax import data
from physjax.config import run_name
from physjax.errors import Interrupted
from physjax.models import Classifier, build
from physjax.records import RunFolder
from physjax.train import sharding
from physjax.train.callbacks import Callback
from physjax.train.feed import OnDevice, Streamed
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.sharding import compile_step, place, place_state
from physjax.train.state import init_state, start_state
from physjax.train.step import train_step
from physjax.train.time_limit import TimeLimit

pytestmark = pytest.mark.quick_compile

CALM = {"learning_rate": 0.02, "schedule": "constant", "warmup": 0.0}
WAYS = (("pmap", 8), ("data", 8), ("fsdp", 8))


@pytest.fixture(scope="module")
def noise() -> data.Dataset:
    return without_ties()


@pytest.fixture(autouse=True)
def _small_networks_in_parts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "WHOLE_BELOW", 128)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_way_makes_the_steps_of_one_device(noise: data.Dataset, accumulate: int) -> None:
    """With a batch norm, dropout and augmentation; also in parts, which a norm sees one by one."""
    config = configure(model={"dropout": 0.3}, optim={**CALM, "accumulate": accumulate})
    size = {"optim.batch_size": 48}  # of 8 devices in 2 parts each
    one = states_of(config.set_all(size), noise, 1, 2)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one[0].params, one[2].params)
    assert max(jax.tree.leaves(moved)) > 1e-2
    for way, devices in WAYS:
        many = states_of(config.set_all({**size, "run.sharding": way}), noise, devices, 2)
        assert_close(many[0].params, one[0].params, rtol=0, atol=0)
        assert_close(many[2].params, one[2].params, rtol=1e-5, atol=1e-6)
        assert_close(many[2].batch_stats, one[2].batch_stats, rtol=1e-5, atol=1e-6)
        for found, wanted in zip(many[1:], one[1:], strict=True):
            assert found.metrics.count == wanted.metrics.count
            np.testing.assert_allclose(
                found.metrics.loss_sum / found.metrics.count,
                wanted.metrics.loss_sum / wanted.metrics.count,
                rtol=0,
                atol=1e-6,
            )


def test_the_batches_of_200_steps_are_those_of_one_device(noise: data.Dataset) -> None:
    """Of 17 epochs, the rows and every augmented pixel."""
    steps = range(200)
    augmented = {"mirror": True, "cutout": 8, "pad": 4}
    config = configure(augment=augmented, optim={"batch_size": 16})
    found = {}
    for way, devices in (("pmap", 1), ("pmap", 8), ("data", 8), ("fsdp", 4)):
        setup = TrainSetup(config.set("run.sharding", way), noise.info, 200, devices)
        found[way, devices] = batch_digests(setup, noise, steps)
    one = found["pmap", 1]
    assert len(set(one)) == 200
    assert all(digests == one for digests in found.values())


@pytest.mark.parametrize("parts", [1, 2])
def test_each_device_is_handed_the_rows_that_it_takes(noise: data.Dataset, parts: int) -> None:
    """From the device and streamed; the batch put together again is the one device's."""
    base = configure(
        model={"norm": "none"},
        optim={"batch_size": 48, "accumulate": parts, "drop_remainder": False},
    )
    numbers = np.arange(200, dtype=np.int32)
    order = np.random.default_rng(0).permutation(numbers)
    train = dataclasses.replace(noise.train, labels=numbers)
    wanted = None
    for way, devices in (("pmap", 1), ("pmap", 8), ("data", 8), ("fsdp", 4)):
        setup = TrainSetup(base.set("run.sharding", way), noise.info, 200, devices)
        order_there = place(setup, order)
        streamed = Streamed(setup, train)
        streamed.begin_epoch(0, lambda epoch: order)
        streamed.start(0, 2)
        for feed in (OnDevice(setup, train), streamed):
            batches = []
            for step in (0, 2, 4):
                repeat = min(2, setup.steps_per_epoch - step)
                rows = np.asarray(feed.next(step, order_there, repeat)[1])
                if setup.axis_name is not None:
                    rows = rows.swapaxes(0, 1)
                taken = setup.in_device_order(np.arange(48))
                batches.append(rows.reshape(repeat, 48)[:, np.argsort(taken)])
            found = np.concatenate(batches)
            feed.close()
            wanted = found if wanted is None else wanted
            np.testing.assert_array_equal(found, wanted)
    assert wanted is not None
    np.testing.assert_array_equal(wanted.ravel()[:200], order)


class Double(Classifier):
    """A layer with norm and force, dropout, and a dense layer, in float64."""

    @nn.compact
    def __call__(self, images_NHWC: jax.Array, train: bool = False) -> jax.Array:
        x = self.layer(8, strides=4, activation=self.activation, name="conv")(images_NHWC, train)
        x = self.drop(x.reshape(x.shape[0], -1), train)
        return self.dense(self.num_classes, name="fc")(x)


def double(setup: TrainSetup, folded: bool = False) -> Double:
    axis, law = setup.axis_name, setup.law
    base = build(setup.config.model, 10, dtype=jnp.float64, axis_name=axis, law=law)
    fields = ("num_classes", "layer", "convolution", "dense", "activation", "dropout")
    return Double(**{name: getattr(base, name) for name in fields})


@pytest.mark.exhaustive
def test_in_float64_the_losses_of_200_steps_agree(
    noise: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of sums is all that differs, and twice the digits leave nothing of it to see."""
    monkeypatch.setattr(TrainSetup, "model", double)
    config = configure(model={"dropout": 0.2}, optim={**CALM, "batch_size": 16})
    losses = {}
    with jax.enable_x64(True):
        for way, devices in (("pmap", 1), *WAYS):
            setup = TrainSetup(config.set("run.sharding", way), noise.info, 200, devices)
            state = jax.tree.map(
                lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x,
                init_state(setup),
            )
            state = place_state(setup, state)
            order = np.asarray(shuffle_indices(0, 0, 200))
            arrays = place(setup, (noise.train.images, noise.train.labels, order))
            call = compile_step(setup, train_step, state, *arrays, donate=True)
            losses[way, devices] = []
            for _ in range(200):
                state = call(state, *arrays)
                losses[way, devices].append(float(state.metrics.loss_sum))
    each = {way: np.diff(sums, prepend=0) for way, sums in losses.items()}
    one = each.pop(("pmap", 1))
    assert one[-1] < 0.9 * one[0]  # it learns
    for way, found in each.items():
        print(way, np.max(np.abs(found / one - 1)))
        np.testing.assert_allclose(found, one, rtol=1e-9, atol=0)


def test_with_fsdp_a_device_keeps_a_part_of_the_state(noise: data.Dataset) -> None:
    config = configure(optim={"ema": 0.9}, run={"sharding": "fsdp"})
    setup = TrainSetup(config, noise.info, 200, 8)
    state, whole = start_state(setup, noise.train.images), init_state(setup)
    assert_close(state, whole, rtol=0, atol=0)
    parted = {
        jax.tree_util.keystr(path): leaf.addressable_shards[0].data.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
        if not leaf.is_fully_replicated
    }
    kernel = whole.params["fc1"]["kernel"].shape
    assert kernel[0] % 8 == 0
    part = (kernel[0] // 8, kernel[1])
    for name in (".params", ".ema", ".opt_state[1].trace"):
        assert parted[f"{name}['fc1']['kernel']"] == part
    assert not any("neighbor_forces" in name or "mean" in name for name in parted)
    # Below the limit an array is whole; so is one that the devices do not divide.
    assert whole.params["conv2"]["kernel"].size > 128
    assert all(length % 8 for length in whole.params["conv2"]["kernel"].shape)


class Watch(Callback):
    """Takes the digests of the batches that come next."""

    def __init__(self) -> None:
        self.digests: dict[int, str] = {}

    def on_start(self, trainer: Any) -> None:
        steps = range(trainer.step, min(trainer.step + 4, trainer.setup.total_steps))
        found = batch_digests(trainer.setup, trainer.dataset, steps)
        self.digests |= dict(zip(steps, found, strict=True))


@pytest.mark.slow
def test_a_run_goes_on_over_other_devices_in_another_way(
    tmp_path: Path, noise: data.Dataset
) -> None:
    """Begun on eight devices under pmap, and stopped at any step: on four, one, two, and eight.

    Each batch in two parts, of which the norm sees one at a time.
    """
    config = runs.configure(
        tmp_path / "moved",
        model={"dropout": 0.2},
        optim={**CALM, "batch_size": 48, "epochs": 3, "accumulate": 2},
        run={"evaluate_every": 3, "devices": 8},
    )
    watch = Watch()
    for way, devices, until in (
        ("pmap", 8, 2),
        ("fsdp", 4, 4),
        ("pmap", 1, 7),
        ("data", 2, 10),
        ("pmap", 8, 12),
    ):
        session = config.set_all({"run.sharding": way, "run.devices": devices})
        assert run_name(session) == run_name(config)
        limit = TimeLimit(1e6)
        callbacks = [watch, UpAt(limit, until)]
        if until < 12:
            with pytest.raises(Interrupted):
                fit(session, dataset=noise, time_limit=limit, callbacks=callbacks)
        else:
            fit(session, dataset=noise, callbacks=callbacks)
    still = config.set("run.runs_dir", str(tmp_path / "still"))
    fit(still, dataset=noise)
    moved, stayed = (RunFolder.of(c) for c in (config, still))
    setup = TrainSetup(config, noise.info, 200, 8)
    wanted = batch_digests(setup, noise, range(12))
    assert [watch.digests[step] for step in range(12)] == wanted
    for found, epoch in zip(moved.read_epochs(), stayed.read_epochs(), strict=True):
        np.testing.assert_allclose(found.train_loss, epoch.train_loss, rtol=1e-6)
        assert found.train_accuracy == pytest.approx(epoch.train_accuracy, abs=1 / 200)
    last, other = (folder.read_epochs()[-1] for folder in (moved, stayed))
    np.testing.assert_allclose(last.test_loss, other.test_loss, rtol=1e-6)
    arrays, same = (runs.parameters(folder.checkpoints) for folder in (moved, stayed))
    assert_close(arrays, same, rtol=1e-4, atol=1e-5)
