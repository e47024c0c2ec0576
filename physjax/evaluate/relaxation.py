"""How a trained network comes to rest: energy and residuals by round, and the states themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from physjax.config import AugmentConfig, ConfigError
from physjax.evaluate.trained import Opening, TrainedRun, opened
from physjax.records.relaxation import Relaxation, write_relaxation
from physjax.rules.chain import Chain
from physjax.rules.settling import Relaxed
from physjax.train.batch import select_batch
from physjax.train.setup import TrainSetup
from physjax.train.state import Metrics, TrainState
from physjax.train.step import make_network

CHANNELS = 8
"""Of a layer are kept: those that move the most."""


def relax(path: Path, *, examples: int = 64, **how: Unpack[Opening]) -> Relaxation:
    """Let the finished run in `path` settle by its own rule; write relaxation.npz into it.

    The first test images drive it, as they are, in the network's training mode without dropout.

    Args:
        path: the run's folder.
        examples: how many images settle side by side; at most as many as there are.
        how: as :func:`physjax.evaluate.trained.opened` has it, with its errors.

    Raises:
        ConfigError: `examples` is below 1; the run's rule lets no layers settle.
    """
    if examples < 1:
        raise ConfigError(f"{examples} images cannot settle; take at least 1")
    with opened(path, **how) as run:
        found = _look(run, min(examples, len(run.dataset.test)))
        write_relaxation(path, found)
        return found


def _look(run: TrainedRun, examples: int) -> Relaxation:
    setup = _still(run.setup, examples)
    name, params = setup.rule.name, run.variables["params"]
    chains: list[Chain] = []

    @jax.jit
    def settle(state: TrainState, images: jax.Array, labels: jax.Array) -> Relaxed | None:
        batch = select_batch(setup, state, images, labels, jnp.arange(examples), 0)
        network = dataclasses.replace(make_network(setup, state, batch, 0), trace=True)
        if setup.rule.needs_chain:
            chains.append(network.chain(state.params))
        return setup.rule.update(network, state.params).relaxed

    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.zeros((), jnp.uint32),
        params=params,
        batch_stats=run.variables.get("batch_stats", {}),
        opt_state=(),
        ema={},
        metrics=Metrics.zero(),
    )
    test = run.dataset.test
    rest = settle(state, test.images[:examples], test.labels[:examples])
    if rest is None or rest.trace is None:
        raise ConfigError(
            f"learning rule {name!r} has no layers that settle under a driven output, so there is "
            "nothing to look at; docs/rules.md has the rules that do"
        )
    chain = chains[0]
    count = examples * rest.settled.states[0].shape[0]
    free, settled = [], []
    for k, (drive, driven) in enumerate(zip(rest.free.drives, rest.settled.states, strict=True)):
        pair = chain.state(k, drive[0]), chain.state(k, driven[0, 0])
        before, after = _most_moved(*(np.asarray(each, np.float32) for each in pair))
        free.append(before)
        settled.append(after)
    return Relaxation(
        step=run.result.steps,
        rule=name,
        examples=examples,
        layers=tuple(_layer_names(chain, params)),
        energy=np.asarray(rest.trace.energy, np.float32) / count,
        residual=np.asarray(rest.trace.residual, np.float32) / np.float32(count**0.5),
        image=np.asarray(test.images[0]),
        label=int(test.labels[0]),
        free=tuple(free),
        settled=tuple(settled),
    )


def _still(setup: TrainSetup, examples: int) -> TrainSetup:
    """The setup for one batch of images as they are, on one device, without dropout."""
    as_they_are = AugmentConfig(
        crop="none", mirror=False, cutout=0, normalize=setup.config.augment.normalize
    )
    config = dataclasses.replace(setup.config, augment=as_they_are).replace(
        model={"dropout": 0.0},
        optim={"batch_size": examples, "accumulate": 1},
    )
    return TrainSetup(config, setup.info, examples)


def _most_moved(
    free: npt.NDArray[np.float32], settled: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Both states, of maps those channels alone that move the most."""
    if free.ndim < 3:
        return free, settled
    moved = np.square(settled - free).sum(axis=(0, 1))
    chosen = np.sort(np.argsort(-moved, kind="stable")[:CHANNELS])
    return free[..., chosen], settled[..., chosen]


def _layer_names(chain: Chain, params: Mapping[str, Any]) -> list[str]:
    """Of each layer of a chain: that of the kernel that it reads."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = []
    for k, layer in enumerate(chain.layers):
        keys = [[str(key.key) for key in paths[leaf]] for leaf in layer.leaves]
        own = ["/".join(key[:-1]) for key in keys if key[-1] == "kernel"]
        names.append(own[0] if own else f"layer {k + 1}")
    return names
