"""PyTorch's side of the benchmarks: the same networks, trained and run as PyTorch is used.

Eager float32 in channels_last, bfloat16 autocast, or compiled.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from harness import torch_models, torch_recipe
from harness.physjax_side import EXAMPLES, images
from physjax import data
from physjax.config import RECIPES, Config, from_dict

_NOISE = (0.48, 0.48, 0.48), (0.25, 0.25, 0.25)
"""Mean and deviation by which noise is normalised: which ones changes no time."""


class Training:
    """A network and how it is trained: what a config says, on images in memory.

    Args:
      config: of the run.
      classes: K.
      pixels: uint8 [N, S, S, 3].
      labels: int32 [N].
      mean, std: of the images' channels.
      mirror: whether a mirrored image still shows its class.
      compiled: by torch.compile.

    Raises:
      ConfigError: this side cannot do what the config says.
    """

    def __init__(
        self,
        config: Config,
        classes: int,
        pixels: np.ndarray,
        labels: np.ndarray,
        mean: Any,
        std: Any,
        mirror: bool,
        compiled: bool = False,
    ) -> None:
        torch_recipe.check(config)
        torch.manual_seed(config.run.seed)
        network = torch_models.build(config.model, classes)
        self.network = network.to(memory_format=torch.channels_last)
        self.config = config
        self.augmentation = torch_recipe.Augmentation(config, mean, std, mirror)
        # Kept as bytes with the channels last: what a batch is gathered from fastest.
        self._pixels, self._labels = torch.from_numpy(pixels), torch.from_numpy(labels).long()
        torch_recipe.start_first_layer(self.network, config, self.augmentation, self._pixels)
        size, count = config.optim.batch_size, len(labels)
        self._stop = count - count % size if config.optim.drop_remainder else count
        self.steps_per_epoch = -(-self._stop // size)
        self._optimizer = torch_recipe.Optimizer(
            self.network, config.optim, self.steps_per_epoch * config.optim.epochs
        )
        self._call = torch.compile(self.network) if compiled else self.network
        self._order, self._at = torch.randperm(count), 0
        # Which images are mirrored in the first epoch, and in every other one after it.
        self._mirrored = torch.rand(count) < 0.5

    def step(self) -> None:
        """One step, on the next batch; an epoch's batches are drawn anew at its start."""
        if self._at >= self._stop:
            self._order, self._at = torch.randperm(len(self._labels)), 0
            self._mirrored = ~self._mirrored
        stop = min(self._stop, self._at + self.config.optim.batch_size)
        chosen = self._order[self._at : stop]
        self._at = stop
        with self._arithmetic():
            mirrored = self._mirrored[chosen] if self.config.augment.alternate else None
            logits = self._call(self.augmentation(self._pixels[chosen], mirrored))
        smoothing = self.config.optim.label_smoothing
        loss = nn.functional.cross_entropy(
            logits.float(), self._labels[chosen], label_smoothing=smoothing
        )
        self._optimizer.step(loss)

    def accuracy(self, split: data.Split) -> float:
        """Fraction of a split's images that are classified as their labels say."""
        size, hits = self.config.run.eval_batch_size, 0
        labels = torch.from_numpy(split.labels)
        self.network.eval()
        with torch.inference_mode(), self._arithmetic():
            for start in range(0, len(labels), size):
                batch = torch.from_numpy(split.images[start : start + size])
                found = self.network(self.augmentation.normalise(batch)).argmax(1)
                hits += int((found == labels[start : start + size]).sum())
        self.network.train()
        return hits / len(labels)

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.run.precision == "bf16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()


def train(
    model: str,
    batch_size: int = 128,
    examples: int = EXAMPLES,
    precision: str = "float32",
    compiled: bool = False,
) -> Callable[[], None]:
    """A step of the recipe `standard` without augmentation, on data shaped like CIFAR-10."""
    config = RECIPES["standard"].replace(
        model={"name": model},
        optim={"batch_size": batch_size},
        augment={"crop": "none", "mirror": False, "cutout": 0},
        run={"precision": precision},
    )
    return Training(config, 10, *images(examples), *_NOISE, False, compiled).step


def epochs(config: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """Trains an epoch whenever it is called: seconds, and accuracy on the validation images.

    Args:
      config: as `physjax.config.to_dict` gives it, with images held out.
    """
    whole = from_dict(config)
    dataset = data.load(whole.data)
    info, validation = dataset.info, dataset.validation
    assert validation is not None
    training = Training(
        whole,
        info.num_classes,
        np.asarray(dataset.train.images),
        dataset.train.labels,
        info.mean,
        info.std,
        info.mirror,
    )

    def epoch() -> dict[str, float]:
        start = time.perf_counter()
        for _ in range(training.steps_per_epoch):
            training.step()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "accuracy": training.accuracy(validation)}

    return epoch


def predict(model: str, batch_size: int = 500) -> Callable[[], None]:
    """Probabilities of a batch of uint8 images, in eager float32."""
    config = RECIPES["standard"].replace(model={"name": model})
    torch_recipe.check(config)
    network = torch_models.build(config.model).to(memory_format=torch.channels_last)
    network.eval()
    normalise = torch_recipe.Augmentation(config, *_NOISE, mirror=False).normalise
    batch = torch.from_numpy(images(batch_size)[0])

    def call() -> None:
        with torch.inference_mode():
            network(normalise(batch)).softmax(1)

    return call


def parameter_count(model: str) -> int:
    """Trainable numbers of the network."""
    config = RECIPES["standard"].replace(model={"name": model})
    return sum(p.numel() for p in torch_models.build(config.model).parameters())
