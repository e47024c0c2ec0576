"""What the documentation shows works: its links, its commands, and the code in it."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from helpers import docs
from helpers.docs import NAMES, PAGES, ROOT
from helpers.steps import configure, states_of
from physjax import data, resistive
from physjax.cli import common
from physjax.config import ModelConfig
from physjax.forces import LAWS, ForceLaw, neighbor_sum
from physjax.models import MODELS, ModelSpec, build
from physjax.nn.fold import fold
from physjax.nn.physics import PhysicsLayer
from physjax.ops.pool import max_pool
from physjax.rules import RULES

pytestmark = pytest.mark.quick_compile


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    # Without the code, where f(x)[1](y) is a call.
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", t).lower().replace(" ", "-") for t in titles]
            assert heading in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_and_grids_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for script in re.findall(r"python ((?:experiments|benchmarks)/\S+\.py)", text):
        assert (ROOT / script).is_file(), script
    for grid in re.findall(r"--grid (experiments/\S+\.toml)", text):
        assert (ROOT / grid).is_file(), grid


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_the_targets_of_make_exist_and_run_says_its_cost_before_anything_else() -> None:
    targets = re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {"run", "smoke", "test", "setup"} <= set(targets)
    shown = {}
    # Inside `make test` a make would take over its flags and say that it enters a directory.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    for target in sorted(set(targets)):
        done = subprocess.run(
            ["make", "-n", target],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shown[target] = done.stdout
    cost = shown["run"].splitlines()[:4]
    assert all(line.startswith("echo") for line in cost)
    assert "half an hour" in cost[0]
    assert "170 MB" in cost[1]
    assert "--recipe smoke" in shown["smoke"]


def test_the_options_that_the_readme_lists_exist(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(
        r"^\| (`--.+?) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    options = re.findall(r"--[a-z-]+", " ".join(listed))
    assert len(options) > 10
    with pytest.raises(SystemExit):
        common.parse(["--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(options) <= known


@pytest.mark.parametrize("name", ["forces.ring", "forces.neighborhood"])
def test_examples_in_docstrings(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"physjax.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def example(page: str, name: str) -> dict[str, Any]:
    """All names after the block of Python code that defines `name` on a page of the docs."""
    (code,) = [
        block
        for block in docs.blocks(page)
        if re.search(rf"^({name} = |def {name}\()", block, re.MULTILINE)
    ]
    # Class bodies look their module up.
    space: dict[str, Any] = {"__name__": __name__, "ForceLaw": ForceLaw, "LAWS": LAWS}
    space |= {"dataclasses": dataclasses, "jnp": jnp, "np": np}
    exec(code, space)
    return space


@pytest.mark.parametrize(("page", "name"), [("README.md", "PULL"), ("docs/laws.md", "MEAN_FIELD")])
def test_the_laws_that_the_docs_add(page: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They start as their plain twin, push, turn with the channels, and fold."""
    law = example(page, name)[name]
    monkeypatch.setitem(LAWS, law.name, law)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(2, 6, 6, 3)), jnp.float32)
    layer = PhysicsLayer(5, law=law.name, algorithm="direct")
    start = layer.init(jax.random.key(0), images)
    plain = PhysicsLayer(5, law="none", algorithm="direct")
    twin = {"params": {name: start["params"][name] for name in ("kernel", "bias")}}
    np.testing.assert_array_equal(layer.apply(start, images), plain.apply(twin, images))

    own = {name: jnp.asarray(rng.normal(size=5), jnp.float32) for name in law.init(5)}
    bias = jnp.asarray(rng.normal(size=5), jnp.float32)
    pushed = {**start["params"], **own, "bias": bias}
    y = layer.apply({"params": pushed}, images)
    assert np.abs(y - plain.apply(twin, images)).max() > 0.1
    rolled = {name: jnp.roll(x, 2, -1) for name, x in pushed.items()}
    np.testing.assert_allclose(
        layer.apply({"params": rolled}, images), jnp.roll(y, 2, -1), rtol=1e-4, atol=1e-5
    )
    folded = fold({"params": {"conv": pushed}}, law.name)["params"]["conv"]
    np.testing.assert_allclose(plain.apply({"params": folded}, images), y, rtol=1e-4, atol=1e-5)


def test_the_division_that_starts_as_in_the_literature() -> None:
    law = example("docs/laws.md", "literature")["literature"]
    y = jnp.full((1, 16), 2.0)
    force = law({name: jnp.asarray(x) for name, x in law.init(16).items()}, y)
    np.testing.assert_allclose(y + force, 2 / (1 + 4), rtol=1e-6)  # the weights sum to one
    assert not law.starts_plain


@pytest.mark.parametrize("law", ["divisive", "lrn"])
def test_the_derivative_along_a_direction(law: str) -> None:
    """Two reverse passes through a law, a chosen convolution and a pool, against a difference."""
    directional = example("docs/laws.md", "directional")["directional"]
    pool = partial(max_pool, window=(2, 2))
    layer = PhysicsLayer(4, law=law, activation=nn.relu, pool=pool, algorithm="patch")
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, v = (jnp.asarray(rng.normal(size=(2, 6, 6, 3))) for _ in range(2))
        params = layer.init(jax.random.key(0), x)["params"]
        params = {name: 30 * jnp.asarray(p, jnp.float64) for name, p in params.items()}
        if law == "divisive":
            params["exponents"] = jnp.asarray([0.5, 0.2, -0.1, 0.3])
        call = jax.jit(partial(layer.clone(dtype=jnp.float64).apply, {"params": params}))
        slope = (call(x + 1e-6 * v) - call(x - 1e-6 * v)) / 2e-6
        got = jax.jit(partial(directional, call))(x, v)
    assert np.abs(slope).max() > 0.1
    np.testing.assert_allclose(got, slope, rtol=1e-5, atol=1e-5 * np.abs(slope).max())


def test_the_base_that_the_docs_add(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = example("docs/models.md", "TINY")["TINY"]
    assert isinstance(spec, ModelSpec)
    monkeypatch.setitem(MODELS, "tiny", spec)
    model = build(ModelConfig("tiny", law="ring", dropout=0.1), 7)
    images = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 7)
    assert set(variables["params"]["conv2"]) >= {"kernel", "neighbor_forces", "norm"}


def test_the_numbers_of_the_training_step() -> None:
    space = example("docs/training_step.md", "g")
    np.testing.assert_array_equal(space["force"], [12, 8, 12, 8])
    np.testing.assert_array_equal(space["by_f"], [-2, 1, -2, 1])
    assert space["by_s"] == -1
    # What the page says of the pace: the offset s F(f) moves by s^2 F(F(g)).
    twice = neighbor_sum(neighbor_sum(space["g"]))
    np.testing.assert_array_equal(space["s"] * neighbor_sum(space["by_f"]), 4 * twice)
    smooth, alternating = jnp.ones(8), jnp.array([1.0, 1.0, -1.0, -1.0] * 2)
    np.testing.assert_array_equal(neighbor_sum(neighbor_sum(smooth)), 4 * smooth)
    np.testing.assert_array_equal(neighbor_sum(neighbor_sum(alternating)), 0 * smooth)


def test_the_rule_that_the_docs_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of plain descent moves every parameter by the learning rate, one way or the other."""
    monkeypatch.setitem(RULES, "sign", example("docs/rules.md", "SIGN")["SIGN"])
    config = configure(
        rule={"update_rule": "sign"},
        optim={
            "schedule": "constant",
            "warmup": 0.0,
            "learning_rate": 0.5,
            "momentum": 0.0,
            "nesterov": False,
            "weight_decay": 0.0,
        },
    )
    before, after = states_of(config, data.load(config.data), 1, 1)
    steps = jax.tree.map(lambda a, b: np.abs(a - b), after.params, before.params)
    np.testing.assert_allclose(steps["conv1"]["kernel"], 0.5, rtol=1e-5)


@pytest.mark.slow
def test_the_notebook_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recipe, own law, fit, predict, compare, plot: word for word, and as short as it says."""
    monkeypatch.chdir(tmp_path)
    script, callback = docs.blocks("docs/python.md")
    assert len([line for line in script.splitlines() if line.strip()]) <= 20
    names: dict[str, Any] = {}
    try:
        exec(script, names)
        exec(callback, names)
    finally:
        LAWS.pop("pull", None)
    plain, pulled = names["runs"]
    assert plain.config.set("model.law", "pull") == pulled.config
    # From the same start, on the same batches: the first epoch differs by what the law has learned.
    assert plain.record.epochs[0].train_loss == pytest.approx(
        pulled.record.epochs[0].train_loss, rel=0.2
    )
    assert plain.record.epochs != pulled.record.epochs
    assert (tmp_path / "loss.png").stat().st_size > 1000
    assert "epoch 3: " in capsys.readouterr().out


def test_the_network_of_resistors_that_the_docs_train() -> None:
    space = example("docs/resistive.md", "net")
    assert space["net"].conductances.shape == (16,)
    assert resistive.evaluate(space["trained"], space["task"]).squared_error < 1e-20


def test_the_layers_with_diodes_that_the_docs_train() -> None:
    space = example("docs/resistive.md", "layers")
    assert space["outputs"].argmax(1).tolist() == [0, 1, 1, 0]
    assert 0 < space["conducting"] < 1


def test_the_layers_of_resistors_that_the_docs_train() -> None:
    space = example("docs/resistive.md", "layers")
    assert space["outputs"].argmax(1).tolist() == [0, 1, 1, 0]


@pytest.mark.exhaustive
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook as it stands, in a kernel of its own; it says what its stored outputs say."""
    nbformat = pytest.importorskip("nbformat", reason="install the extra `docs`")
    nbclient = pytest.importorskip("nbclient", reason="install the extra `docs`")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel shows its figures
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", 4)
    stored = [cell.get("outputs", []) for cell in notebook.cells]
    client = nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    made = [cell.get("outputs", []) for cell in notebook.cells]
    assert sum("image/png" in o.get("data", {}) for own in made for o in own) == 2
    assert not [o for own in made for o in own if o.get("name") == "stderr"]
    # Numbers differ from processor to processor; what kind of outputs there are does not.
    assert [len(own) > 0 for own in made] == [len(own) > 0 for own in stored]
    assert "95 % interval" in made[-2][-1]["text"]
