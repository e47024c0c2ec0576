"""PyTorch's side of the benchmarks computes what physjax does."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers.random_params import random_like
from helpers.sampling import sampled
from physjax import data
from physjax.config import RECIPES, ConfigError, ModelConfig, to_dict
from physjax.models import MODELS, build
from physjax.optimizers import make_schedule
from physjax.train.setup import TrainSetup, shuffle_indices
from physjax.train.state import init_state
from physjax.train.step import train_step

torch = pytest.importorskip("torch", reason="PyTorch is missing: install the extra `bench`")
reference = pytest.importorskip("helpers.torch_reference")

# What is compiled here runs a few times: to optimise it would take longer.
QUICK = {"xla_backend_optimization_level": 0}

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from harness import physjax_side, torch_models, torch_muon, torch_recipe, torch_side  # noqa: E402
from harness.torch_layers import load  # noqa: E402


@pytest.mark.parametrize("recipe", ["standard", "fast"])
@pytest.mark.parametrize("name", sampled(MODELS, "cnn", "alexnet", "speedrun"))
def test_every_base_is_the_same_network(
    name: str, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many parameters, and for the same ones, with forces, the same logits.

    physjax's network is traced, and PyTorch runs what was traced: to compile it takes minutes.
    """
    whole = dataclasses.replace(RECIPES[recipe].model, name=name)
    shapes = jax.eval_shape(build(whole, 10).init, jax.random.key(0), np.zeros((1, 32, 32, 3)))
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    network = torch_models.build(whole)
    assert sum(p.numel() for p in network.parameters()) == count

    reference.use_flax_pools(monkeypatch)
    config = dataclasses.replace(whole, law="ring", width=0.1, algorithm="direct")
    model = build(config, 10)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = random_like(jax.eval_shape(model.init, jax.random.key(0), images), 1)
    traced = jax.make_jaxpr(model.apply)(variables, images)
    inputs = [torch.from_numpy(x) for x in (*jax.tree.leaves(variables), images)]
    (logits,) = reference.closed(traced, inputs, torch.float32)
    network = torch_models.build(config).eval()
    load(network, variables)
    with torch.inference_mode():
        found = network(inputs[-1].permute(0, 3, 1, 2))
    assert found.abs().max() > 0.1 * config.logit_scale
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-5 * float(found.abs().max()))


def test_what_has_no_place_is_told() -> None:
    network = torch_models.build(ModelConfig("cnn", width=0.1))
    kernel = np.zeros((3, 3, 3, 4), np.float32)
    with pytest.raises(KeyError, match="conv9/kernel has no place"):
        load(network, {"params": {"conv9": {"kernel": kernel}}})
    with pytest.raises(KeyError, match=r"nothing was given for conv1\.norm\.bias"):
        load(network, {"params": {"conv1": {"kernel": kernel}}})


@pytest.mark.parametrize(("recipe", "optimizer"), [("standard", "sgd"), ("fast", "muon")])
def test_steps_of_a_recipe_are_the_same(recipe: str, optimizer: str) -> None:
    """Nesterov, decay of kernels alone, the biases' own rate, schedule, smoothing, batch norm; and
    kernels that Muon turns."""
    images, labels = physjax_side.images(40)
    config = RECIPES[recipe].replace(
        model={"name": "cnn", "law": "ring", "width": 0.1, "dropout": 0.0, "algorithm": "direct"},
        augment={"crop": "none", "mirror": False, "alternate": False, "cutout": 0},
        optim={
            "optimizer": optimizer,
            "batch_size": 8,
            "learning_rate": 0.05,
            "epochs": 2,
            "bias_scale": 4.0,
            "weight_decay": 0.01,
        },
    )
    setup = TrainSetup(config, physjax_side.setup(8).info, 40)
    state = init_state(setup)
    state = state.replace(params=jax.tree.map(jnp.asarray, random_like(state.params, 1)))
    mean, std = setup.info.mean, setup.info.std
    training = torch_side.Training(config, 10, images, labels, mean, std, mirror=True)
    load(training.network, {"params": state.params, "batch_stats": state.batch_stats})
    assert training.steps_per_epoch == 5
    step = jax.jit(partial(train_step, setup), compiler_options=QUICK)
    for epoch in range(2):
        order = shuffle_indices(0, epoch, 40)
        training._order, training._at = torch.from_numpy(np.array(order)), 0
        for _ in range(5):
            state = step(state, images, labels, order)
            training.step()
    twin = torch_models.build(config.model)
    load(twin, {"params": state.params, "batch_stats": state.batch_stats})
    wanted = dict(twin.named_parameters())
    for name, parameter in training.network.named_parameters():
        apart = (parameter - wanted[name]).detach()
        assert apart.norm() < 1e-4 * wanted[name].detach().norm(), name


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_the_schedule_is_the_same(schedule: Any, warmup: float) -> None:
    optim = RECIPES["standard"].replace(optim={"schedule": schedule, "warmup": warmup}).optim
    ours, theirs = make_schedule(optim, 20), torch_recipe.factor(optim, 20)
    rates = [optim.learning_rate * theirs(step) for step in range(20)]
    np.testing.assert_allclose(rates, [ours(step) for step in range(20)], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_optaxs(nesterov: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv": (3, 3, 4, 8), "wide": (6, 20)}
    params: dict[str, Any] = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    numbers = {
        name: optax.contrib.MuonDimensionNumbers(tuple(range(len(s) - 1)), len(s) - 1)
        for name, s in shapes.items()
    }
    optimizer = optax.contrib.muon(
        0.05,
        beta=0.9,
        nesterov=nesterov,
        weight_decay=0.1,
        muon_weight_dimension_numbers=numbers,
    )
    tensors = {k: torch.from_numpy(np.moveaxis(v, -1, 0).copy()) for k, v in params.items()}
    leaves = {k: torch.nn.Parameter(v) for k, v in tensors.items()}
    theirs = torch_muon.Muon(
        leaves.values(), lr=0.05, momentum=0.9, nesterov=nesterov, weight_decay=0.1
    )
    state = optimizer.init(params)
    update = jax.jit(optimizer.update, compiler_options=QUICK)
    for _ in range(4):
        gradients = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
        steps, state = update(gradients, state, params)
        params = optax.apply_updates(params, steps)
        for name, leaf in leaves.items():
            leaf.grad = torch.from_numpy(np.moveaxis(gradients[name], -1, 0).copy())
        theirs.step()
    for name, leaf in leaves.items():
        found = np.moveaxis(leaf.detach().numpy(), 0, -1)
        np.testing.assert_allclose(found, params[name], atol=2e-5)


def test_muon_moves_no_vectors() -> None:
    with pytest.raises(ValueError, match=r"not a parameter of shape \(3,\)"):
        torch_muon.Muon([torch.zeros(3)])


def test_what_pytorchs_side_cannot_do_it_refuses() -> None:
    standard = RECIPES["standard"]
    for config in (standard, RECIPES["smoke"], RECIPES["fast"], RECIPES["speedrun"]):
        torch_recipe.check(config.replace(data={"dataset": "digits"}))
    changed = standard.replace(augment={"crop": "resized"}, optim={"ema": 0.9})
    with pytest.raises(ConfigError, match=r"cannot do augment.crop = 'resized', optim.ema = 0.9"):
        torch_recipe.check(changed)
    own = standard.replace(model={"law": "divisive"}, law={"length": 3.0})
    with pytest.raises(ConfigError, match=r"model.law = 'divisive', law.length = 3.0"):
        torch_recipe.check(own)
    with pytest.raises(ConfigError, match="has no base 'lenet', only cnn"):
        torch_models.build(standard.replace(model={"name": "lenet"}).model)


def test_the_augmentation_moves_mirrors_and_cuts_as_physjaxs() -> None:
    """Every image that comes out is one of those that may, and none of them is left out."""
    config = RECIPES["standard"].replace(augment={"crop": "pad", "pad": 1, "cutout": 0})
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    may = {
        crop[:, ::turn].tobytes()
        for top in range(3)
        for left in range(3)
        for crop in [padded[top : top + 8, left : left + 8]]
        for turn in (1, -1)
    }
    torch.manual_seed(0)
    make = partial(torch_recipe.Augmentation, mean=(0.0,) * 3, std=(1.0,) * 3, mirror=True)
    images = torch.from_numpy(np.repeat(image[None], 400, axis=0))
    made = make(config)(images)
    pixels = (made.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    assert {one.numpy().tobytes() for one in pixels} == may

    cut = config.replace(augment={"crop": "none", "mirror": False, "cutout": 4})
    holes = (make(cut)(images + 1) == 0).all(1).sum((1, 2))
    assert holes.max() == 16  # whole squares
    assert holes.min() == 4  # and those that two borders cut off


@pytest.mark.parametrize("first_layer", ["whitened", "frozen"])
def test_the_first_layer_is_whitened_as_physjaxs(first_layer: Any) -> None:
    config = RECIPES["fast"].replace(
        model={"name": "cnn", "first_layer": first_layer, "width": 2.0}, optim={"batch_size": 50}
    )
    images, labels = physjax_side.images(200)
    setup = TrainSetup(config, physjax_side.setup(8).info, 200)
    wanted = np.asarray(init_state(setup, images).params["conv1"]["kernel"])
    mean, std = setup.info.mean, setup.info.std
    training = torch_side.Training(config, 10, images, labels, mean, std, mirror=True)
    weight = training.network.conv1.conv.weight
    found = weight.detach().numpy().transpose(2, 3, 1, 0)
    # The sign of an eigenvector is arbitrary; an output and its negative stand side by side.
    np.testing.assert_allclose(abs(found[..., :54]), abs(wanted[..., :54]), atol=1e-3)
    np.testing.assert_array_equal(found[..., :54:2], -found[..., 1:54:2])
    before = weight.detach().clone()
    training.step()
    assert torch.equal(before, weight) == (first_layer == "frozen")


def test_what_passes_the_inputs_on_at_the_start() -> None:
    network = torch_models.build(RECIPES["fast"].replace(model={"name": "cnn"}).model)
    image = torch.rand(1, 32, 5, 5)
    torch.testing.assert_close(network.conv2.conv(image)[:, :32], image)
    assert network.conv2.conv.weight[32:].std() > 0.05
    model = {"name": "cnn", "norm": "none", "kernel_start": "uniform"}
    network = torch_models.build(RECIPES["standard"].replace(model=model).model)
    for values in network.conv2.conv.parameters():
        assert 0.5 < values.abs().max() * (9 * 32) ** 0.5 <= 1


def test_an_image_is_mirrored_in_every_other_epoch() -> None:
    config = RECIPES["fast"].replace(
        augment={"crop": "none"}, model={"name": "cnn", "width": 0.1}, optim={"batch_size": 20}
    )
    images, labels = physjax_side.images(60)
    mean, std = (0.0,) * 3, (1.0,) * 3
    training = torch_side.Training(config, 10, images, labels, mean, std, mirror=True)
    seen: list[torch.Tensor] = []
    training.network.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for _ in range(6):
        training.step()
    first, second = (
        {one.numpy().tobytes() for one in torch.cat(seen[at : at + 3]).contiguous()}
        for at in (0, 3)
    )
    assert len(first) == 60
    assert not first & second
    assert {
        torch.cat(seen[3:])[i].flip(2).contiguous().numpy().tobytes() for i in range(60)
    } == first


@pytest.mark.parametrize("recipe", ["standard", "fast"])
def test_both_sides_learn_by_the_same_recipe(recipe: str) -> None:
    config = RECIPES[recipe].replace(
        data={"dataset": "digits", "holdout": 0.2},
        model={"name": "cnn", "width": 0.25, "algorithm": "direct"},
        augment={"mirror": False, "alternate": False},
        optim={"epochs": 2, "batch_size": 40, "learning_rate": 0.05},
    )
    validation = data.load(config.data).validation
    assert validation is not None
    for epochs in (physjax_side.epochs, torch_side.epochs):
        call = epochs(to_dict(config))
        found = [call() for _ in range(config.optim.epochs)]
        assert all(epoch["seconds"] > 0 for epoch in found)
        assert found[-1]["accuracy"] > 0.4
        hits = found[-1]["accuracy"] * len(validation)
        assert hits == pytest.approx(round(hits))
