"""Networks that settle, against what is known of them: gradients, minima, and closed forms."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree
from scipy import optimize

from helpers.sampling import sampled
from helpers.settling import DENSE, cosines, distance, network_of, small, squared_loss
from physjax.forces import LAWS
from physjax.rules import RULES, Network
from physjax.rules.chain import Chain, Layer
from physjax.rules.coupled_learning import clamped_state
from physjax.rules.energy import Settled, contrast, divergence, energy, free_state
from physjax.rules.settling import settle

pytestmark = pytest.mark.quick_compile


@pytest.fixture(autouse=True)
def _wide() -> Any:
    with jax.enable_x64(True):
        yield


def gradients(name: str, network: Network, params: Any, **settings: Any) -> Any:
    rule = RULES[name].configured(settings)
    return jax.jit(lambda p: rule.update(network, p).gradients)(params)


def updates(rule: Any, network: Network, params: Any) -> tuple[Any, Any]:
    """The gradients, and what the rule moves itself."""

    def update(params: Any) -> tuple[Any, Any]:
        found = rule.update(network, params)
        return found.gradients, found.moved

    return jax.jit(update)(params)


def true_gradient(network: Network, params: Any) -> Any:
    return jax.jit(jax.grad(lambda p: network.loss(p, {})[0]))(params)


def at_rest(network: Network, params: Any, held: jax.Array) -> float:
    """The least energy of all examples with the output held, by SciPy's L-BFGS."""
    chain, free = network.chain(params), free_state(network, params)
    start, unravel = ravel_pytree([a[None] for a in free.drives[:-1]])

    @jax.jit
    def value(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda x: jnp.sum(energy(chain, params, [*unravel(x), held])))(
            flat
        )

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-16, "gtol": 1e-8}
    found = optimize.minimize(value, start, jac=True, method="L-BFGS-B", options=options)
    return float(found.fun)


EP = partial(gradients, "equilibrium-propagation")


# Equilibrium propagation: the gradient.


@pytest.mark.parametrize(("law", "norm"), [("ring", False), ("spring", True), ("divisive", False)])
def test_a_small_nudge_gives_the_gradient_in_every_layer(law: str, norm: bool) -> None:
    network, params = network_of(small(law, norm, dropout=0.2))
    found = EP(network, params, beta=1e-5)
    close = cosines(found, true_gradient(network, params))
    assert min(close.values()) > 0.9999, close
    assert distance(found, true_gradient(network, params)) < 1e-4


def test_too_few_rounds_leave_the_layers_wrong_that_the_error_has_not_reached() -> None:
    network, params = network_of(small(**DENSE))
    expected = true_gradient(network, params)
    two = EP(network, params, beta=1e-5, rounds=2)
    assert not np.any(two["fc0"]["kernel"])
    assert not np.any(two["fc1"]["kernel"])
    assert np.any(two["fc2"]["kernel"])
    three = cosines(EP(network, params, beta=1e-5, rounds=3), expected)
    assert min(three.values()) < 0.95, three
    five = cosines(EP(network, params, beta=1e-5, rounds=5), expected)
    assert min(five.values()) > 0.9999, five
    default = EP(network, params, beta=1e-5)
    assert min(cosines(default, expected).values()) > 0.9999


@pytest.mark.parametrize(
    ("scheme", "order"), [("centred", 2), ("forward", 1), ("backward", 1), ("random", 1)]
)
def test_the_error_falls_with_the_nudge_to_the_schemes_order(scheme: str, order: int) -> None:
    """With a smooth nonlinearity: where a unit of ReLU goes on or off the error is a step."""
    network, params = network_of(small(activation=nn.gelu, **DENSE))
    expected = true_gradient(network, params)
    betas = (0.01, 0.001)
    errors = [distance(EP(network, params, beta=beta, scheme=scheme), expected) for beta in betas]
    slope = np.log(errors[0] / errors[1]) / np.log(betas[0] / betas[1])
    assert slope == pytest.approx(order, abs=0.2), errors
    assert errors[1] < 0.01


def test_the_squared_error_has_its_own_gradient() -> None:
    network, params = network_of(small(**DENSE))
    expected = jax.jit(jax.grad(partial(squared_loss, network)))(params)
    found = EP(network, params, beta=1e-5, cost="squared")
    assert min(cosines(found, expected).values()) > 0.9999
    assert distance(found, expected) < 1e-4


def test_what_fills_up_a_batch_teaches_nothing() -> None:
    network, params = network_of(small(**DENSE))
    whole = EP(network, params, beta=1e-5)
    alone, _ = network_of(small(**DENSE), examples=6)
    masked = Network(**{**vars(alone), "mask": jnp.arange(6) < 4, "examples": jnp.asarray(4)})
    part = EP(masked, params, beta=1e-5)
    assert distance(part, whole) > 0.1

    def loss(p: Any) -> jax.Array:
        logits = alone.forward(p, alone.activation).logits[:4]
        return -jnp.mean(jnp.sum(alone.targets[:4] * jax.nn.log_softmax(logits), axis=-1))

    assert distance(part, jax.jit(jax.grad(loss))(params)) < 1e-3


# The energy.


@pytest.mark.parametrize("activation", [nn.relu, nn.gelu, partial(nn.celu, alpha=0.3)])
def test_the_divergence_is_the_integral_of_the_nonlinearity(activation: Any) -> None:
    drive, state = jnp.array([1.5, -0.7, 0.4, -2.0]), jnp.array([0.3, 1.1, -1.2, -0.5])
    t = jnp.linspace(0.0, 1.0, 200_001)[:, None]
    along = activation(state[None] + t * (drive - state)[None]) - activation(state)[None]
    expected = jnp.trapezoid(along, dx=1 / 200_000, axis=0) * (drive - state)
    found = divergence(activation, drive, state)
    # CELU's second derivative jumps at zero.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-9)
    assert np.all(found >= 0) or activation is nn.gelu  # which falls where it is negative
    np.testing.assert_array_equal(divergence(activation, drive, drive), 0)


@pytest.mark.parametrize("law", sampled(LAWS, "ring", "divisive", "ring-gate"))
def test_every_law_is_inside_the_energy(law: str) -> None:
    """The contrast's local formula against the derivative of the energy, at any state."""
    network, params = network_of(small(law, hidden=()))
    chain, rng = network.chain(params), np.random.default_rng(0)
    free = free_state(network, params)
    states = tuple(a[None] + jnp.asarray(rng.normal(size=(1, *a.shape))) for a in free.drives)

    def local(params: Any) -> Any:
        leaves, below, drives = jax.tree.leaves(params), None, []
        for k, u in enumerate(states):
            drives.append(chain.drive(k, leaves, below))
            below = chain.state(k, u)
        return contrast(chain, params, Settled(states, tuple(drives)), jnp.ones(1))

    found = jax.jit(local)(params)
    expected = jax.jit(jax.grad(lambda p: jnp.sum(energy(chain, p, states))))(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-8), found, expected)
    own = {*LAWS[law].init(1), *(["interaction_strength"] if LAWS[law].has_strength else [])}
    assert all(np.any(found["conv1"][name] != 0) for name in own)


def test_the_free_state_has_no_energy_and_no_contrast() -> None:
    network, params = network_of(small(**DENSE))
    chain, free = network.chain(params), free_state(network, params)
    still, _ = settle(chain, params, free.drives, lambda h, a: a, rounds=3)
    for k, u in enumerate(still.states):
        np.testing.assert_array_equal(u[0], free.drives[k])
    assert not any(np.any(x) for x in jax.tree.leaves(contrast(chain, params, still, jnp.ones(1))))


def test_the_energy_of_a_clamped_network_falls_round_by_round_to_rest() -> None:
    network, params = network_of(small(**DENSE))
    chain, free = network.chain(params), free_state(network, params)
    held = free.outputs.logits[None] + 0.1
    go = partial(settle, chain, params, free.drives, lambda h, a: held, trace=True, rounds=30)
    _, trace = jax.jit(partial(go, damping=0.5, adaptive=True))()
    total = np.sum(trace.energy, axis=1)
    assert total[0] == 0
    assert np.all(np.diff(total[1:]) < 1e-9 * total[1])
    assert np.max(trace.residual[-1]) < 5e-2 * np.max(trace.residual[1])
    assert at_rest(network, params, held) == pytest.approx(float(total[-1]), rel=5e-2)


def test_a_full_move_diverges_where_the_output_is_held_and_an_adaptive_one_does_not() -> None:
    network, params = network_of(small(**DENSE))
    chain, free = network.chain(params), free_state(network, params)
    held = free.outputs.logits[None] + 0.1
    go = partial(settle, chain, params, free.drives, lambda h, a: held, trace=True, rounds=12)
    _, full = jax.jit(go)()
    _, adapted = jax.jit(partial(go, damping=1.0, adaptive=True))()
    assert np.sum(full.energy[-1]) > 10 * np.sum(full.energy[1])
    assert np.sum(adapted.energy[-1]) < np.sum(adapted.energy[1])


# Closed forms and minima.


def linear_chain(x: jax.Array) -> Chain:
    """h_1 = W_1 x, h_2 = W_2 h_1, the parameters [W_1, W_2]."""
    first = Layer((0,), lambda own, _: x @ own[0].T)
    second = Layer((1,), lambda own, below: below @ own[0].T)
    return Chain((first, second), lambda a: a)


def test_two_linear_layers_against_their_closed_form() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4))
    w1, w2 = 0.5 * rng.normal(size=(5, 4)), 0.5 * rng.normal(size=(2, 5))
    target = rng.normal(size=(3, 2))
    params, chain = [jnp.asarray(w1), jnp.asarray(w2)], linear_chain(jnp.asarray(x))
    free = (jnp.asarray(x @ w1.T), jnp.asarray(x @ w1.T @ w2.T))
    answer = np.asarray(free[1])

    clamped, _ = settle(
        chain, params, free, lambda h, a: jnp.asarray(target)[None], rounds=150, adaptive=True
    )
    # h_2 = t; (1 + W2^T W2) (h_1 - W1 x) = W2^T (t - W2 W1 x).
    residual = np.linalg.solve(np.eye(2) + w2 @ w2.T, (target - answer).T).T
    moved = x @ w1.T + residual @ w2
    np.testing.assert_allclose(clamped.states[0][0], moved, rtol=1e-9)
    expected = 0.5 * np.sum(residual * (target - answer), axis=1)
    np.testing.assert_allclose(energy(chain, params, clamped.states)[0], expected, rtol=1e-9)
    found = contrast(chain, params, clamped, jnp.ones(1))
    np.testing.assert_allclose(found[0], -(residual @ w2).T @ x, rtol=1e-8)
    np.testing.assert_allclose(found[1], -residual.T @ moved, rtol=1e-8)

    beta = 0.3
    nudged, _ = settle(
        chain,
        params,
        free,
        lambda h, a: a - beta * (h - jnp.asarray(target)[None]),
        rounds=150,
        adaptive=True,
    )
    # eps_2 = -beta (h_2 - t), and h_2 = W2 W1 x + (1 + W2 W2^T) eps_2.
    system = np.eye(2) + beta * (np.eye(2) + w2 @ w2.T)
    residual = np.linalg.solve(system, -beta * (answer - target).T).T
    found = contrast(chain, params, nudged, jnp.ones(1))
    np.testing.assert_allclose(found[0], -(residual @ w2).T @ x, rtol=1e-8)


@pytest.mark.parametrize(
    "name", sampled(["coupled-learning", "channel-resistances"], "coupled-learning")
)
def test_the_clamped_contrast_is_the_derivative_of_the_least_energy(name: str) -> None:
    """By the envelope theorem; the target does not move with the parameters."""
    rule = RULES[name].configured({"eta": 0.2, "rounds": 20})
    model = small(
        "ring",
        connection=rule.connection,
        activation=partial(nn.celu, alpha=0.3),
        convolutions=(3, 4),
        hidden=(),
        pooled=False,
    )
    network, params = network_of(model, examples=2)
    logits = network.forward(params, network.activation).logits[None]
    held = logits - 0.2 * (jax.nn.softmax(logits) - network.targets[None])
    gradient, changed = updates(rule, network, params)
    if name == "channel-resistances":
        gamma = rule.settings["gamma"].default
        gradient = jax.tree.map(jnp.zeros_like, params)
        for layer, moved in changed.items():
            step = moved["resistances"] - params[layer]["resistances"]
            gradient[layer]["resistances"] = -step / gamma
    rng = np.random.default_rng(0)

    def askew(slope: jax.Array) -> jax.Array:
        """Half along the contrast, half across: noise as long as it."""
        noise = rng.normal(size=slope.shape) * np.linalg.norm(slope) / np.sqrt(slope.size)
        return slope + jnp.asarray(noise)

    way = jax.tree.map(askew, gradient)
    found = float(sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, way))))

    def least(step: float) -> float:
        return at_rest(network, jax.tree.map(lambda x, v: x + step * v, params, way), held)

    step = 1e-4 / float(jnp.linalg.norm(ravel_pytree(way)[0]))
    slope = (least(step) - least(-step)) / (2 * step) / (0.2 * 2)
    # What 20 rounds have not settled yet.
    assert found == pytest.approx(slope, rel=5e-2)


def test_coupled_learning_points_downhill_and_is_no_gradient() -> None:
    network, params = network_of(small(**DENSE))
    found = gradients("coupled-learning", network, params, eta=0.01)
    close = cosines(found, true_gradient(network, params))
    assert min(close.values()) > 0.3, close
    assert min(close.values()) < 0.99
    assert distance(found, true_gradient(network, params)) > 0.1


def test_contrastive_learning_is_coupled_learning_with_the_output_at_its_target() -> None:
    network, params = network_of(small(**DENSE))
    rest = clamped_state(
        network, network.chain(params), params, eta=1.0, rounds=2, damping=0.5, cost="squared"
    )
    np.testing.assert_allclose(rest.settled.states[-1][0], network.targets, atol=1e-12)
    coupled = gradients("coupled-learning", network, params, eta=1.0, cost="squared")
    one = gradients("contrastive", network, params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), one, coupled)


# Dual propagation.


def test_dyads_and_their_fast_form_agree_to_first_order() -> None:
    network, params = network_of(small(**DENSE))
    expected = true_gradient(network, params)
    apart = []
    for beta in (0.1, 0.02):
        dyads = gradients("dual-propagation", network, params, beta=beta, alpha=0.3)
        fast = gradients("dual-propagation", network, params, beta=beta, alpha=0.3, form="fast")
        apart.append(distance(dyads, fast))
    assert 0 < apart[1] < apart[0] / 3
    fine = {"beta": 1e-5, "alpha": 0.3}
    for form in ("dyads", "fast"):
        found = gradients("dual-propagation", network, params, form=form, **fine)
        assert min(cosines(found, expected).values()) > 0.9999
        assert distance(found, expected) < 1e-3
    twice = gradients("dual-propagation", network, params, sweeps=2, **fine)
    assert distance(twice, expected) < 1e-3


# Resistances between the channels.


def test_resistances_move_by_equation_one() -> None:
    """gamma / R^2, times the kernel's correlation with the contrast of the kernel divided by R."""
    rule = RULES["channel-resistances"].configured({"gamma": 0.01, "output": "nudged", "eta": 1e-4})
    network, params = network_of(small(connection=rule.connection))
    _, changed = updates(rule, network, params)
    expected = true_gradient(network, params)
    for layer in ("conv0", "conv1"):
        own = params[layer]
        by_effective = expected[layer]["kernel"] * own["resistances"][None, None]
        drop = -jnp.sum(own["kernel"] * by_effective, axis=(0, 1))
        moved = own["resistances"] - 0.01 / own["resistances"] ** 2 * drop
        np.testing.assert_allclose(
            changed[layer]["resistances"],
            jnp.clip(moved, 0.1, 10.0),
            rtol=1e-4,
            atol=1e-6,
        )


@pytest.mark.parametrize("kernels", ["frozen", "contrast", "backprop"])
def test_what_moves_kernels_and_the_rest_is_chosen(kernels: str) -> None:
    rule = RULES["channel-resistances"].configured(
        {"kernels": kernels, "dense": "frozen", "others": "frozen", "rounds": 2}
    )
    network, params = network_of(small("ring", connection=rule.connection, hidden=()))
    gradient, changed = updates(rule, network, params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    kernel = gradient["conv1"]["kernel"]
    if kernels == "backprop":
        expected = true_gradient(network, params)["conv1"]["kernel"]
        np.testing.assert_allclose(kernel, expected, rtol=1e-8, atol=1e-12)
    elif kernels == "frozen":
        assert not np.any(kernel)
        np.testing.assert_array_equal(changed["conv1"]["kernel"], params["conv1"]["kernel"])
    else:
        assert np.any(kernel)
        assert "kernel" not in changed["conv1"]
    assert not np.any(gradient["out"]["kernel"])
    np.testing.assert_array_equal(changed["out"]["kernel"], params["out"]["kernel"])
    for name in ("bias", "neighbor_forces", "interaction_strength"):
        np.testing.assert_array_equal(changed["conv1"][name], params["conv1"][name])


def test_the_head_alone_learns_where_all_else_is_frozen() -> None:
    frozen = {"kernels": "frozen", "others": "frozen", "gamma": 0.0, "rounds": 2}
    rule = RULES["channel-resistances"].configured(frozen)
    network, params = network_of(small("ring", connection=rule.connection, hidden=(6,)))
    gradient, changed = updates(rule, network, params)
    for layer, own in params.items():
        for name, value in own.items():
            if layer.startswith("conv"):
                np.testing.assert_array_equal(changed[layer][name], value)
                assert not np.any(gradient[layer][name])
            else:
                assert layer not in changed
                assert np.any(gradient[layer][name])
