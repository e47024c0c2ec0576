"""Layered networks with diodes: their state of rest, and what they learn."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from physjax import resistive
from physjax.cli import resistive as command
from physjax.resistive.layered import settling
from physjax.resistive.layered.presets import LAYERED_PRESETS, ImageSet, image_examples
from physjax.resistive.layered.runner import LayeredRecord
from physjax.resistive.layered.training import gradients

pytestmark = pytest.mark.quick_compile

SIZES = (3, 7, 6, 4)


def deep(seed: int = 0, *, diodes: bool = True) -> resistive.LayeredNetwork:
    """Two hidden layers, with currents into all nodes, none of which floats."""
    net = resistive.layered_network(SIZES, seed, diodes=diodes, gain=3.0)
    net = dataclasses.replace(net, conductances=tuple(g + 0.05 for g in net.conductances))
    rng = np.random.default_rng(seed + 100)
    currents = tuple(rng.normal(0, 0.3, size) for size in SIZES[1:])
    return dataclasses.replace(net, currents=currents)


def examples(samples: int = 5, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, SIZES[0])), rng.normal(size=(samples, SIZES[-1]))


def laplacian(net: resistive.LayeredNetwork) -> np.ndarray:
    """Of all nodes, layer 0 first, put together resistor by resistor."""
    sizes = net.sizes
    first = np.cumsum([0, *sizes])
    whole = np.zeros((first[-1], first[-1]))
    for k, g in enumerate(net.conductances):
        for i, j in np.ndindex(g.shape):
            a, b = first[k] + i, first[k + 1] + j
            whole[[a, b], [a, b]] += g[i, j]
            whole[[a, b], [b, a]] -= g[i, j]
    return whole


@pytest.mark.parametrize("beta", [0.0, 0.2, -0.1])
def test_the_state_of_rest_is_scipys_minimum_within_the_diodes_limits(beta: float) -> None:
    net = deep()
    x, y = examples()
    layers = resistive.layered_state(net, x, beta=beta, targets=y, tolerance=1e-13)
    found = np.concatenate(layers, axis=1)
    solve: Any = minimize
    whole, held = laplacian(net), net.sizes[0]
    low, high = (np.concatenate(each) for each in zip(*map(net.limits, (1, 2, 3)), strict=True))
    fed = np.concatenate(net.currents)
    outputs = np.arange(len(fed)) >= len(fed) - SIZES[-1]
    inner = whole[held:, held:] + np.diag(beta * outputs)
    for sample in range(len(x)):
        sources = 3.0 * np.concatenate([x[sample], -x[sample]])
        pull = fed - whole[held:, :held] @ sources
        pull[outputs] += beta * y[sample]
        best = solve(
            lambda v, b=pull: float(0.5 * v @ inner @ v - b @ v),
            np.zeros(len(fed)),
            jac=lambda v, b=pull: inner @ v - b,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"ftol": 1e-16, "gtol": 1e-10, "maxiter": 10_000},
        )
        np.testing.assert_allclose(found[sample], best.x, atol=1e-6)
        # The KKT conditions, from the Laplacian: where v is 0 the diode drains, and one way only.
        slope = inner @ found[sample] - pull
        at_limit = (found[sample] == low) | (found[sample] == high)
        assert np.abs(slope[~at_limit]).max() < 1e-10
        assert (slope[found[sample] == low] >= -1e-10).all()
        assert (slope[found[sample] == high] <= 1e-10).all()
    assert (found >= low).all()
    assert (found <= high).all()
    hidden = found[:, : sum(SIZES[1:-1])]
    assert 0.2 < (hidden == 0).mean() < 0.8  # diodes of both kinds


def test_no_round_raises_the_energy_and_violation_sees_what_is_not_at_rest() -> None:
    net = deep()
    x, y = examples()
    with jax.enable_x64(True):
        driven = settling.nudged(settling.drive(net, jnp.asarray(x)), 0.2, jnp.asarray(y))
        voltages = settling.at_zero(net, driven)
        energies, left = [], []
        for _ in range(25):
            energies.append(np.asarray(settling.energy(net, driven, voltages)))
            left.append(float(settling.violation(net, driven, voltages)))
            voltages = settling.one_round(net, driven, voltages)
        whole, held = laplacian(net), net.sizes[0]
        every = np.concatenate([driven.sources, *voltages], axis=1)
        by_hand = 0.5 * np.einsum("si,ij,sj->s", every, whole, every)
        by_hand -= every[:, held:] @ np.concatenate(net.currents)
        by_hand += 0.1 * ((np.asarray(voltages[-1]) - y) ** 2).sum(axis=1)
        np.testing.assert_allclose(settling.energy(net, driven, voltages), by_hand, rtol=1e-12)
    assert (np.diff(energies, axis=0) <= 1e-12).all()
    assert left[0] > 0.5
    assert left[-1] < 1e-3


def test_without_diodes_it_is_the_linear_network_of_the_same_resistors() -> None:
    net = deep(1, diodes=False)
    net = dataclasses.replace(net, currents=tuple(0 * b for b in net.currents))
    first = np.cumsum([0, *net.sizes])
    pairs, conductances = [], []
    for k, g in enumerate(net.conductances):
        for i, j in np.ndindex(g.shape):
            pairs.append((first[k] + i, first[k + 1] + j))
            conductances.append(g[i, j])
    graph = resistive.Graph(int(first[-1]), np.array(pairs))
    x = np.array([0.3, -1.0, 0.7])
    sources = dict(enumerate((3.0 * np.concatenate([x, -x])).tolist()))
    wanted = resistive.free_state(resistive.network(graph, conductances), sources)
    found = np.concatenate(resistive.layered_state(net, x[None], tolerance=1e-13), axis=1)[0]
    np.testing.assert_allclose(found, wanted[net.sizes[0] :], atol=1e-9)


def test_amplifiers_between_the_layers_are_one_gain_at_the_input() -> None:
    """Kendall's: voltages times A on the way up, currents times 1/A on the way down."""
    net, amplify = deep(2), 1.7
    net = dataclasses.replace(net, currents=tuple(0 * b for b in net.currents), gain=1.0)
    x, _ = examples(1)
    v = [np.concatenate([x[0], -x[0]]), *(np.zeros(n) for n in net.sizes[1:])]
    for _ in range(3000):
        for k in range(1, len(net) + 1):
            below = net.conductances[k - 1]
            # A resistor from below sees A times what is there; one to above draws 1/A of its own
            # current, and sees A v_k.
            load, current = below.sum(axis=0), amplify * v[k - 1] @ below
            if k < len(net):
                above = net.conductances[k]
                load = load + above.sum(axis=1)
                current = current + above @ v[k + 1] / amplify
            v[k] = np.clip(current / load, *net.limits(k))
    plain = dataclasses.replace(net, gain=amplify ** len(net))
    found = resistive.layered_state(plain, x, tolerance=1e-13)
    for k, state in enumerate(found, 1):
        np.testing.assert_allclose(v[k] * amplify ** (len(net) - k), state[0], atol=1e-8)


def test_the_rule_is_the_gradient_of_half_the_squared_error() -> None:
    net = deep(3)
    x, y = examples()

    def error(net: resistive.LayeredNetwork) -> float:
        outputs = resistive.layered_state(net, x, tolerance=1e-13)[-1]
        return float(0.5 * ((outputs - y) ** 2).sum(axis=1).mean())

    with jax.enable_x64(True):
        slope = jax.tree.map(np.asarray, gradients(net, jnp.asarray(x), jnp.asarray(y), 1e-4, 300))
    rng = np.random.default_rng(0)
    for name in ("conductances", "currents"):
        for k, part in enumerate(getattr(net, name)):
            for _ in range(3):
                way = rng.normal(size=part.shape)

                def moved(
                    step: float, k: int = k, way: np.ndarray = way, name: str = name
                ) -> float:
                    parts = list(getattr(net, name))
                    parts[k] = parts[k] + step * way
                    changes: dict[str, Any] = {name: tuple(parts)}
                    return error(dataclasses.replace(net, **changes))

                found = float((getattr(slope, name)[k] * way).sum())
                assert found == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-4)


def test_diodes_learn_xor_where_the_same_layers_without_them_cannot() -> None:
    preset = LAYERED_PRESETS["xor"]
    assert preset.examples is not None
    task = preset.examples(0)
    options = dataclasses.replace(preset.train, steps=1500, history_points=10)
    for seed in range(3):
        net = resistive.layered_network(preset.sizes, seed, gain=preset.gain)
        trained, history = resistive.train_layered(net, task, options, seed=seed)
        outputs, share = resistive.layered_outputs(trained, task.inputs)
        assert outputs.argmax(axis=1).tolist() == [0, 1, 1, 0]
        assert history.squared_error[-1] < 0.05 < history.squared_error[0]
        assert history.steps.tolist() == list(range(0, 1501, 150))
        assert all((g >= 0).all() for g in trained.conductances)
        assert 0 < share < 1
        assert history.violation < 0.01
    net = resistive.layered_network(preset.sizes, 0, diodes=False, gain=preset.gain)
    trained, history = resistive.train_layered(net, task, options)
    # A quarter of the squared distance between the targets: the middle for all four.
    assert history.squared_error[-1] == pytest.approx(0.25, abs=1e-3)
    outputs, share = resistive.layered_outputs(trained, task.inputs)
    np.testing.assert_allclose(outputs[0] + outputs[3], outputs[1] + outputs[2], atol=1e-6)
    assert share == 0


def test_images_are_halved_in_grey_and_standardised() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 4, 3)).astype(np.uint8)
    labels = np.array([0, 9, 1, 2, 3, 4])
    made = image_examples("own", ImageSet(images[:4], labels[:4], images[4:], labels[4:]))
    assert made.inputs.shape == (4, 4)
    assert made.inputs.mean() == pytest.approx(0)
    assert made.inputs.std() == pytest.approx(1)
    grey = images.astype(float).mean(axis=-1)
    first, second = grey[0, :2, 2:].mean(), grey[5, 2:, :2].mean()
    scale = (first - second) / (made.inputs[0, 1] - made.test_inputs[1, 2])
    assert grey[2, 2:, 2:].mean() - first == pytest.approx(
        scale * (made.inputs[2, 3] - made.inputs[0, 1])
    )
    assert made.targets[1].tolist() == [0.0] * 9 + [1.0]
    with pytest.raises(resistive.NetworkError, match="more than ten classes"):
        image_examples("own", ImageSet(images, labels + 1, images, labels))


def test_what_cannot_be_is_refused_in_words() -> None:
    net = deep()
    x, y = examples()
    for call, message in (
        (lambda: resistive.layered_network((3,)), "needs inputs and outputs"),
        (lambda: resistive.layered_network((3, 0, 1)), "number of nodes in a layer"),
        (lambda: resistive.layered_network((3, 1), gain=0.0), "gain must be a number"),
        (lambda: resistive.layered_state(net, x[:, :2]), r"takes \(samples, 3\)"),
        (lambda: resistive.layered_state(net, x, beta=0.1), "needs the targets"),
        (lambda: resistive.layered_state(net, x, beta=0.1, targets=y[:, :1]), "targets have shape"),
        (lambda: resistive.layered_state(net, x, beta=-9.0, targets=y), "smaller beta"),
        (lambda: resistive.layered_state(net, x, max_rounds=1), "not at rest after 1 rounds"),
        (lambda: resistive.LayeredOptions(steps=0), "steps must be"),
        (lambda: resistive.LayeredOptions(1, rates=(0.1, -1.0)), "rate must be"),
        (lambda: resistive.LayeredOptions(1, rates=(0.1, 0.1)).of_layers(3), "2 rates for 3"),
    ):
        with pytest.raises(resistive.NetworkError, match=message):
            call()
    wrong = resistive.classification("own", x, np.arange(5), x, np.arange(5), 5)
    with pytest.raises(resistive.NetworkError, match="own has 3 inputs and 5 outputs, the network"):
        resistive.train_layered(net, wrong, resistive.LayeredOptions(1, batch=1))
    task = resistive.classification("own", x, np.zeros(5, int), x, np.zeros(5, int), 4)
    endless = dataclasses.replace(net, currents=tuple(b + np.inf for b in net.currents))
    with pytest.raises(resistive.NetworkError, match="diverged after 0 updates"):
        resistive.train_layered(endless, task, resistive.LayeredOptions(1, batch=5))


def test_the_command_trains_layers_and_draws_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "record.json"
    line = ["--task", "xor", "--network", "diodes", "--seeds", "2", "--steps", "20"]
    assert command.command([*line, "--json", str(file), "--figures", str(tmp_path)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert list(found) == [field.name for field in dataclasses.fields(LayeredRecord)]
    assert (found["network"], found["rule"], found["steps"]) == ("diodes", "equilibrium", 20)
    assert (found["sizes"], found["resistors"]) == ([4, 16, 2], 96)
    assert {path.name for path in tmp_path.iterdir()} == {
        "record.json",
        "resistive_xor_diodes_history.png",
        "resistive_xor_diodes_network.png",
    }
    said = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in said] == [n for n in found if n not in command.LISTS]
    # Images have another picture; the test digits are those that are left.
    line = ["--task", "digits", "--network", "layers", "--steps", "2", "--figures"]
    assert command.command([*line, str(tmp_path), "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert (found["train_examples"], found["test_examples"]) == (1400, 397)
    assert found["conducting_diodes"] is None
    assert (tmp_path / "resistive_digits_layers_network.png").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--network diodes", "task 'allostery' is for --network graph; layered networks learn xor"),
        ("--task cifar10", "task 'cifar10' is for layered networks; choose --network diodes or"),
        ("--task xor --network diodes --rule discrete", "not by the rule 'discrete'"),
        ("--task xor --network diodes --cuts 2", "cuts is for --network graph"),
        ("--task xor --network layers --probability 0.5", "probability is for --network graph"),
        ("--task xor --network diodes --steps 0", "steps must be a whole number from 1 to 1000000"),
        ("--task xor --network diodes --eta 0", "eta (beta in siemens) must be a number"),
        ("--task xor --network diodes --eta 50", "choose a smaller beta"),
        ("--task xor --network diodes --data-dir .", "--data-dir does nothing for task 'xor'"),
        ("--task mnist --network diodes --data-dir no-such", "no-such"),
    ],
)
def test_what_layers_cannot_do_is_refused(
    line: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command.command(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_sizes_count_every_input_twice() -> None:
    net = deep()
    assert net.sizes == (6, 7, 6, 4)
    assert [g.shape for g in net.conductances] == list(pairwise(net.sizes))
