"""The benchmarks: they run, and what they compare is the same network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from physjax import resistive
from physjax.nn.physics import PhysicsLayer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import resistor_networks  # noqa: E402
import scaling_on_paper  # noqa: E402
import streaming  # noqa: E402
from profile_step import OTHER, kind, names  # noqa: E402


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("jit(f)/jvp(A)/conv2/cond/branch_0_fun/dot_general", "convolution: products"),
        ("jit(f)/transpose(jvp(A))/conv2/conv_general_dilated", "convolution: products"),
        ("jit(f)/jvp(A)/conv2/cond/branch_0_fun/stack", "convolution: transforms and patches"),
        ("jit(f)/jvp(A)/conv1/norm/sub", "norm, force, activation"),
        ("jit(f)/jvp(A)/block1_1_norm/sub", "norm, force, activation"),
        ("jit(f)/transpose(jvp(A))/max_pool/div", "max pool"),
        ("jit(f)/jvp(A)/fc1/dot_general", "dense layers"),
        ("jit(f)/augment/gather", "augmentation and gathering"),
        ("jit(f)/jvp()/log_softmax", OTHER),
    ],
)
def test_operations_are_told_apart(operation: str, expected: str) -> None:
    assert kind(operation) == expected


class OneLayer(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        options: dict[str, Any] = {
            "norm": nn.BatchNorm,
            "activation": nn.tanh,
            "algorithm": "direct",
        }
        return PhysicsLayer(8, name="conv1", law="lrn", **options)(images, train=True)


def test_a_layers_parts_are_told_apart_in_its_real_program() -> None:
    """Norm, force and activation by their scopes, whatever the layer's methods are called."""
    layer, images = OneLayer(), jnp.ones((2, 8, 8, 3))
    variables = jax.eval_shape(layer.init, jax.random.key(0), images)

    def loss(variables: Any, images: jax.Array) -> jax.Array:
        return layer.apply(variables, images, mutable=["batch_stats"])[0].sum()

    text = jax.jit(jax.grad(loss)).lower(variables, images).as_text(debug_info=True)
    found = {
        scope: {kind(name) for name in re.findall(r'loc\("(jit[^"]*)"', text) if scope in name}
        for scope in ("/norm/", "/force/", "/activation/", "conv_general_dilated")
    }
    expected = {key: {"norm, force, activation"} for key in found}
    assert found == {**expected, "conv_general_dilated": {"convolution: products"}}


def test_a_fusion_is_named_by_what_it_computes() -> None:
    program = """
%inner (p: f32[2]) -> f32[2] {
  %a = f32[2] add(%p, %p), metadata={op_name="f/augment/add"}
  ROOT %b = f32[2] multiply(%a, %a), metadata={op_name="f/optimizer/mul"}
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %fusion.1 = f32[2] fusion(%p), kind=kLoop, calls=%inner
  ROOT %c = f32[2] add(%fusion.1, %p), metadata={op_name="f/dropout"}
}
"""
    found = names(program)
    assert found["fusion.1"] == "f/optimizer/mul"
    assert found["c"] == "f/dropout"


def test_the_networks_of_resistors_agree_with_the_scipy_loop() -> None:
    graph = resistive.square_lattice(4, 5)
    case = resistor_networks.Case(graph, seeds=2, steps=6, baseline_steps=2)
    row = resistor_networks.measure(case, rounds=1)
    assert row["relative_difference_after_5_steps"] < 1e-10
    assert (row["nodes"], row["edges"], row["seeds"], row["method"]) == (20, 31, 2, "dense")
    rates = ("plain", "single")
    assert all(row[f"{name}_updates_per_second"] > 0 for name in rates)


@pytest.mark.exhaustive
def test_a_benchmark_runs_and_writes_what_it_ran_on(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "GLIBC_TUNABLES")}
    words = [
        "--model",
        "cnn",
        "--laws",
        "ring",
        "--turns",
        "2",
        "--rounds",
        "1",
        "--batch",
        "8",
        "--no-coupled",
    ]
    subprocess.run(
        [
            sys.executable,
            "benchmarks/layer_overhead.py",
            *words,
            "--json",
            str(tmp_path / "found.json"),
        ],
        cwd=ROOT,
        env={**clean, "PHYSJAX_CACHE": str(tmp_path)},
        check=True,
        timeout=3000,
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["steps"]) == {"none", "again", "ring"}
    # The reference is the mean of the two plain ones, turn by turn.
    plain = [found["steps"][label]["times_none"] for label in ("none", "again")]
    assert sum(plain) == pytest.approx(2)
    assert len(found["steps"]["ring"]["times_none_by_round"]) == found["rounds"]
    assert found["steps"]["ring"]["median_seconds"] > 0
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["machine"]["versions"]["jaxlib"]


@pytest.mark.exhaustive
def test_the_rules_steps_are_compared_with_backpropagation(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "GLIBC_TUNABLES")}
    words = ["--models", "cnn", "--turns", "2", "--batch", "4"]
    words += ["--rules", "equilibrium-propagation, random", "--json", str(tmp_path / "found.json")]
    subprocess.run(
        [sys.executable, "benchmarks/rule_steps.py", *words],
        cwd=ROOT,
        env={**clean, "PHYSJAX_CACHE": str(tmp_path)},
        check=True,
        timeout=3000,
    )
    steps = json.loads((tmp_path / "found.json").read_text())["steps"]["cnn"]
    assert set(steps) == {"backprop", "again", "equilibrium-propagation, random"}
    assert sum(steps[label]["times_backprop"] for label in ("backprop", "again")) == pytest.approx(
        2
    )
    assert steps["equilibrium-propagation, random"]["times_backprop"] > 1


def test_the_folder_of_photos_is_the_same_each_time_and_can_be_read_both_ways(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        streaming.make_folder(tmp_path / name, 2 * streaming.CLASSES, (24, 32))
    one, two = (sorted((tmp_path / name).rglob("*.jpg")) for name in ("one", "two"))
    assert len(one) == 2 * streaming.CLASSES
    assert len({path.read_bytes() for path in one}) == len(one)
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    here = streaming.memory(os.getpid())
    assert 10 < here < 1e5


PROGRAM = """
  %a = (f32[64]{0}, f32[3,3,64]{2,1,0}) all-reduce(%x, %y), channel_id=6
  %b = u8[128,32,32,3]{3,2,1,0} all-gather(%z), channel_id=4
  %c = bf16[8]{0} all-reduce-start(%w), channel_id=5
  %d = f32[2]{0} fusion(%all-reduce.3), kind=kLoop
"""


def test_collectives_are_found_with_their_bytes() -> None:
    assert scaling_on_paper.collectives(PROGRAM) == [
        {"kind": "all-reduce", "bytes": 4 * (64 + 9 * 64)},
        {"kind": "all-gather", "bytes": 128 * 32 * 32 * 3},
        {"kind": "all-reduce", "bytes": 16},
    ]


def test_a_step_on_paper_is_what_its_formulas_say() -> None:
    """By hand: 8 devices of one node, and 64 of eight."""
    on = scaling_on_paper.Accelerator("x", "", 1e12, 1e12, 1e12, 8, 100e9, 10e9, 1e-6, 5e-6)
    rows = [
        {
            "batch": batch,
            "flops": 1e9 * (1 + batch),
            "bytes": 1e6,
            "draws": 1000,
            "collectives": [
                {"kind": "all-reduce", "bytes": 1 << 30},
                {"kind": "all-gather", "bytes": 8},
            ],
        }
        for batch in (16, 64)
    ]
    step = scaling_on_paper.expected(rows, "pmap", on, 8, 32)
    assert step.compute == pytest.approx(33e9 / 0.4e12)
    assert step.draws == pytest.approx(32 * 8 * 1000 * 100 / 1e12)
    assert step.large == pytest.approx(2 * (7 / 8 * 2**30 / 100e9 + 3e-6))
    assert step.small == pytest.approx(7 / 8 * 8 / 100e9 + 3e-6)
    far = scaling_on_paper.expected(rows, "data", on, 64, 32)
    assert far.draws == pytest.approx(step.draws / 8)
    assert far.large == pytest.approx(2 * (63 / 64 * 2**30 / 10e9 + 3e-6 + 3 * 5e-6))
    assert far.efficiency == pytest.approx(far.compute / far.total)
    assert far.worst == "gradients"


def test_the_docs_show_the_table_of_the_record() -> None:
    file = ROOT / "results" / "benchmarks" / "scaling_on_paper.json"
    table = scaling_on_paper.table(json.loads(file.read_text(encoding="utf-8")))
    assert "\n".join(table) in (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8")
