"""torchvision's AlexNet: what we write it loads, and what it has we take in."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import docs
from helpers.exports import OWN
from helpers.random_params import random_like
from physjax.config import recipe
from physjax.export import (
    ExportError,
    WeightsError,
    network_of_run,
    network_of_torch,
    read_torch,
    write_export,
)
from physjax.export.network import PortableNetwork
from physjax.export.torch import state_dict, write
from physjax.train.setup import TrainSetup

torch = pytest.importorskip("torch", reason="PyTorch is missing: install the extra `bench`")

pytestmark = pytest.mark.quick_compile


def torchvision_alexnet(classes: int) -> Any:
    """As `torchvision.models.alexnet`: its layers, and its names of them."""
    nn = torch.nn

    class AlexNet(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(kernel_size=3, stride=2),
                nn.Conv2d(64, 192, kernel_size=5, padding=2),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(kernel_size=3, stride=2),
                nn.Conv2d(192, 384, kernel_size=3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(384, 256, kernel_size=3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(256, 256, kernel_size=3, padding=1),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(kernel_size=3, stride=2),
            )
            self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
            self.classifier = nn.Sequential(
                nn.Dropout(),
                nn.Linear(256 * 6 * 6, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Linear(4096, classes),
            )

        def forward(self, x: Any) -> Any:
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return AlexNet().eval()


def portable(**model: Any) -> PortableNetwork:
    """The paper's network of the paper's recipe, trained to nowhere near its start."""
    batches = {"drop_remainder": True} if model.get("norm") == "batch" else {}
    config = recipe("paper").replace(
        model={"name": "alexnet", "law": "ring", **model}, optim=batches
    )
    setup = TrainSetup(config, OWN, 1000)
    shapes = jax.eval_shape(
        lambda: setup.model().init(jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    )
    kept = {key: shapes[key] for key in ("params", "batch_stats") if key in shapes}
    return network_of_run(setup, random_like(kept, 0))


def in_torch(path: Path, inputs_NHWC: np.ndarray, classes: int) -> np.ndarray:
    network = torchvision_alexnet(classes)
    network.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        inputs = torch.from_numpy(np.ascontiguousarray(inputs_NHWC.transpose(0, 3, 1, 2)))
        return np.asarray(network(inputs))


def as_seen(network: PortableNetwork, images: np.ndarray) -> np.ndarray:
    """The images after the network's own preprocessing, float32 [N, 224, 224, 3]."""
    from physjax.data import augment

    info, config = network.info, network.config.augment
    prepared = augment.preprocess(jnp.asarray(images), 224, info.mean, info.std, config)
    return np.asarray(prepared)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{}, {"norm": "batch", "pool_first": True, "norm_scale": False, "logit_scale": 0.5}],
    ids=["as the paper has it", "with batch norms"],
)
def test_torchvision_loads_what_we_write(fields: dict[str, Any], tmp_path: Path) -> None:
    network = portable(**fields)
    assert network.folded
    write(network, tmp_path / "a.pth")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    wanted = network.predict(images)
    found = in_torch(tmp_path / "a.pth", as_seen(network, images), 7)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()))
    if fields:
        return
    # And back: the same arrays, the same logits.
    again = network_of_torch(tmp_path / "a.pth", "abcdefg")
    jax.tree.map(
        np.testing.assert_array_equal, again.variables["params"], network.variables["params"]
    )
    assert again.info.class_names == tuple("abcdefg")
    large = np.random.default_rng(1).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)
    # torchvision: the middle 224 of 256 pixels, normalised as for ImageNet.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inputs = ((large[:, 16:240, 16:240] / 255 - mean) / std).astype(np.float32)
    found = in_torch(tmp_path / "a.pth", inputs, 7)
    np.testing.assert_allclose(again.predict(large), found, atol=1e-4 * np.abs(found).max())
    with pytest.raises(ExportError, match="has 7 outputs, but 2 class names"):
        network_of_torch(tmp_path / "a.pth", ["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["torchvision itself", "its layers written out"])
def test_the_code_on_the_model_card(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real torchvision where it can be imported."""
    if by == "torchvision itself":
        try:
            import torchvision  # noqa: F401
        # A build for CUDA beside a PyTorch for CPUs: its operators are not registered.
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"torchvision cannot be imported: {error}")
    else:
        models = types.ModuleType("torchvision.models")
        models.alexnet = lambda num_classes: torchvision_alexnet(num_classes)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
        monkeypatch.setitem(sys.modules, "torchvision.models", models)
    network = portable()
    _, card = write_export(network, "torch", tmp_path / "a.pth")
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    space: dict[str, Any] = {"images": images}
    with torch.inference_mode():
        exec(code, space)
    wanted = network.predict(images)
    np.testing.assert_allclose(
        np.asarray(space["logits"].detach()), wanted, atol=1e-4 * max(1.0, np.abs(wanted).max())
    )


@pytest.mark.slow
def test_pretrained_weights_with_torchvisions_start_are_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = torchvision_alexnet(1000)
    torch.save(network.state_dict(), tmp_path / "alexnet.pth")
    ours = network_of_torch(tmp_path / "alexnet.pth")
    assert ours.info.class_names[:2] == ("class 0", "class 1")
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
    found = ours.predict(images)
    inputs = as_seen(ours, images).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        wanted = np.asarray(network(torch.from_numpy(np.ascontiguousarray(inputs))))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    # As the docs say it.
    (code,) = [block for block in docs.blocks("docs/export.md") if "network_of_torch" in block]
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"images": images}
    exec(code, space)
    np.testing.assert_array_equal(space["logits"], found)
    back = state_dict(ours)
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(back[name], tensor.numpy(), err_msg=name)


def test_what_is_no_alexnet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for state, message in (
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"has no features\.0\.weight: it is no"),
        (
            {"features.0.weight": torch.zeros(64, 3, 7, 7), "features.0.bias": torch.zeros(64)},
            r"features\.0\.weight has the shape \[64, 3, 7, 7\], and not \[64, 3, 11, 11\]",
        ),
        ([1, 2], "is no state dict of arrays"),
        ({"a": object}, "is no state dict of arrays"),
    ):
        torch.save(state, path)
        with pytest.raises(WeightsError, match=message):
            read_torch(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="is no state dict of arrays"):
        read_torch(path)


def test_what_torchvision_does_not_have_is_refused() -> None:
    network = portable(width=0.05)
    with pytest.raises(ExportError, match=r"its activation is relu, its width 0\.05"):
        state_dict(network)
    kept = dataclasses.replace(network, folded=False)
    with pytest.raises(ExportError, match="its force law ring is not folded"):
        state_dict(kept)
