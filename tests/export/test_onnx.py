"""ONNX graphs in onnxruntime: every base, laws that fold or do not, and what cannot be."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from helpers.exports import OWN
from helpers.random_params import random_like
from helpers.sampling import sampled
from helpers.short import SHORT, cut
from physjax.config import recipe
from physjax.export import ExportError, PortableNetwork, network_of_run, onnx
from physjax.forces import LAWS
from physjax.nn.fold import foldable
from physjax.train.setup import TrainSetup

runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is missing")
library = pytest.importorskip("onnx", reason="onnx is missing: install the extra `export`")

pytestmark = pytest.mark.quick_compile


def portable(
    name: str, law: str = "ring", size: str = "cifar", crop: str = "pad", **model: Any
) -> PortableNetwork:
    """A network, short and narrow, that is nowhere at its start values."""
    config = recipe("standard").replace(
        model={"name": name, "law": law, "size": size, "width": 0.1, **model},
        augment={"crop": crop},
        optim={"batch_size": 10},
    )
    info = dataclasses.replace(OWN, image_size=40 if crop == "none" else 32)
    setup = TrainSetup(config, info, 100)
    short = SHORT.get(name, {}) if size == "cifar" else {}
    network, side = setup.model().clone(**short), setup.image_size
    images = jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images))
    kept = {key: shapes[key] for key in ("params", "batch_stats") if key in shapes}
    found = network_of_run(setup, random_like(kept, 0))
    return dataclasses.replace(found, model=found.model.clone(**short))


def images_for(network: PortableNetwork, count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, *network.input_shape), dtype=np.uint8)


def in_onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options)
    (logits,) = session.run(["logits"], {"images": images})
    return np.asarray(logits)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet": ("alexnet", {"pool_first": True, "activation": "gelu"}),
    "vgg11": ("vgg11", {"norm": "none", "law": "spring"}),
    "googlenet": ("googlenet", {}),
    "resnet18": ("resnet18", {}),
    "resnet20": ("resnet20", {}),
    "densenet": ("densenet", {}),
    "speedrun": ("speedrun", {"activation": "celu"}),
    "alexnet at 224": ("alexnet", {"size": "imagenet", "crop": "resized", "width": 0.05}),
    "cnn from 40 pixels": ("cnn", {"crop": "none"}),
    **{f"cnn {law}": ("cnn", {"law": law}) for law in LAWS if not foldable(law)},
}


@pytest.mark.parametrize("case", sampled(CASES, "alexnet", "resnet18", "cnn divisive", "cnn se"))
def test_onnxruntime_gives_the_same_logits(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch)
    name, fields = CASES[case]
    network = portable(name, **fields)
    assert network.folded == foldable(fields.get("law", "ring"))
    onnx.write(network, tmp_path / "a.onnx")
    for count in (1, 3):  # the batch is free
        images = images_for(network, count)
        wanted = network.predict(images)
        found = in_onnxruntime(tmp_path / "a.onnx", images)
        assert found.shape == (count, 7)
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    model = library.load(tmp_path / "a.onnx")
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Conv"] >= 2
    if name in ("alexnet", "vgg11", "cnn"):
        assert kinds["MaxPool"] in (2, 3, 5), "a pool is a pool, and no comparison of slices"
        assert kinds["Where"] == 0
    assert {p.key: p.value for p in model.metadata_props} == {
        "class_names": json.dumps(list("abcdefg"))
    }


def test_a_folded_network_has_no_trace_of_its_force(tmp_path: Path) -> None:
    ring, plain = portable("cnn"), portable("cnn", law="none")
    sizes = []
    for network in (ring, plain):
        onnx.write(network, tmp_path / "a.onnx")
        graph = library.load(tmp_path / "a.onnx").graph
        sizes.append((Counter(n.op_type for n in graph.node), len(graph.initializer)))
    assert sizes[0] == sizes[1]


OPERATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "where": lambda x: jnp.where(x > 0.2, x, -3 * x),
    "compare": lambda x: (
        ((x >= 0) & (x <= 1) | (x < -1)).astype("float32") + 2 * (x != jnp.maximum(x, 0.2))
    ),
    "clip": lambda x: jnp.clip(x, -0.5, 0.7),
    "powers": lambda x: x**3 + jnp.abs(x) ** 0.3 + jax.lax.rsqrt(1 + x * x),
    "near zero": lambda x: jnp.expm1(x) + jnp.log1p(jnp.abs(x)),
    "smooth": lambda x: jax.nn.sigmoid(x) + jax.scipy.special.erf(x) + jnp.sign(x) * jnp.sin(x),
    "turned": lambda x: jnp.flip(x, 1) + 2 * jnp.roll(x, 3, 1),
    "padded": lambda x: jnp.pad(x, ((0, 0), (2, 0)), constant_values=1.5)[:, :7],
    "wrapped": lambda x: jnp.pad(x, ((0, 0), (2, 1)), mode="wrap")[:, 1:8],
    "every other": lambda x: jnp.repeat(x[:, ::2], 2, axis=1)[:, :7],
    "reduced": lambda x: x.max(1, keepdims=True) - x.min(1, keepdims=True) * x.sum(1)[:, None],
    "outer": lambda x: jnp.einsum("ni,nj->nij", x, x[:, ::-1]).transpose(0, 2, 1)[:, 2],
    "constants": lambda x: x @ jnp.linspace(-1, 1, 49).reshape(7, 7) + jnp.arange(7.0)[None],
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
    "slice": lambda x: jax.lax.dynamic_slice_in_dim(jnp.concatenate([x, -x], 1), 4, 7, 1),
}


class One(nn.Module):
    """A function of seven numbers of each image, as if it were a network."""

    function: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.function(x.reshape(x.shape[0], -1)[:, :7])


@pytest.fixture(scope="module")
def small() -> PortableNetwork:
    return portable("cnn")


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_what_jax_makes_of_it(
    name: str, small: PortableNetwork, tmp_path: Path
) -> None:
    network = dataclasses.replace(small, model=One(OPERATIONS[name]), variables={})
    onnx.write(network, tmp_path / "a.onnx")
    images = images_for(network, 5)
    wanted = network.predict(images)
    assert np.unique(wanted).size > 2
    np.testing.assert_allclose(in_onnxruntime(tmp_path / "a.onnx", images), wanted, atol=1e-5)


class Sorting(nn.Module):
    """Something that no handler writes."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return jnp.sort(x.reshape(x.shape[0], -1), axis=1)[:, :7]


class Reading(nn.Module):
    """Values at places that an image decides."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        flat = x.reshape(x.shape[0], -1)[:, :7]
        return jax.lax.dynamic_slice_in_dim(flat, (x.max() > 0).astype(int), 7, axis=1)


@pytest.mark.parametrize(
    ("module", "message"), [(Sorting(), "'sort'"), (Reading(), "that an image decides")]
)
def test_what_cannot_be_written_is_named_and_leaves_nothing(
    module: Any, message: str, tmp_path: Path
) -> None:
    network = dataclasses.replace(portable("cnn"), model=module, variables={})
    with pytest.raises(ExportError, match=message):
        onnx.write(network, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
