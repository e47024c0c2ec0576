"""A trained network as it leaves: plain where its forces fold, in float32, with its preprocessing.

What is exported takes uint8 images [N, S, S, 3] as `physjax.data.images` makes them, and gives
logits, float32 [N, K]. Normalising, and resizing to what the network sees, are part of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from physjax.config import Config
from physjax.data import DatasetInfo, augment
from physjax.models import Classifier, build
from physjax.nn.connection import PLAIN
from physjax.nn.fold import fold, foldable
from physjax.records import RunRecord
from physjax.train.choices import chosen_law, chosen_rule
from physjax.train.setup import TrainSetup


@dataclass(frozen=True, eq=False)
class PortableNetwork:
    """A network with its variables and all that is needed to make logits of images."""

    config: Config
    """Of the run; `model.law` is that of the training, folded or not."""
    info: DatasetInfo
    """Of the images."""
    variables: Mapping[str, Any]
    """`params` and, with a norm, `batch_stats`: NumPy arrays."""
    model: Classifier
    """That takes the variables; its convolutions are direct."""
    image_size: int
    """Side in pixels of what the network sees, after its preprocessing."""
    folded: bool
    """Whether forces were merged into the kernels and biases."""
    record: RunRecord | None = None
    """Of the training; None: the weights are from elsewhere."""
    source: str = ""
    """Where weights from elsewhere come from."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images."""
        return (self.info.image_size, self.info.image_size, 3)

    @property
    def resized(self) -> tuple[int, int]:
        """Side in pixels that images are resized to, and where in it begins what is kept."""
        return augment.resized(self.info.image_size, self.image_size, self.config.augment)

    def logits(self, variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        """float32 [N, K] of uint8 images [N, S, S, 3]; N may be a symbol of `jax.export`."""
        inputs = augment.preprocess(
            images, self.image_size, self.info.mean, self.info.std, self.config.augment
        )
        return jnp.asarray(self.model.apply(variables, inputs, train=False))

    def function(self) -> Callable[[jax.Array], jax.Array]:
        """`logits` with the variables inside."""
        return lambda images: self.logits(self.variables, images)

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        return jax.jit(self.logits)

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits, as this process computes them."""
        return np.asarray(self._compiled(self.variables, jnp.asarray(images)))

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Class probabilities, float64 [N, K], of uint8 images [N, S, S, 3]."""
        return softmax(self.predict(images).astype(np.float64), axis=1)


def network_of_run(
    setup: TrainSetup,
    variables: Mapping[str, Any],
    record: RunRecord | None = None,
    *,
    merge: bool = True,
) -> PortableNetwork:
    """The network of a run.

    Args:
      setup: of the run.
      variables: as they were trained.
      record: of the run, for the model card.
      merge: fold forces, and a learning rule's parameters, where they can be.
    """
    law, connection = setup.law, setup.rule.connection
    something = law.name != "none" or bool(connection.params)
    folded = merge and something and foldable(law)
    if folded:
        variables = fold(variables, law, connection)
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    return PortableNetwork(
        setup.config,
        setup.info,
        jax.tree.map(np.asarray, kept),
        portable_model(setup.config, setup.info.num_classes, folded),
        setup.image_size,
        folded,
        record,
    )


def portable_model(config: Config, num_classes: int, folded: bool) -> Classifier:
    """The network of a config in float32 with direct convolutions; folded: its plain twin."""
    return build(
        dataclasses.replace(config.model, algorithm="direct"),
        num_classes,
        law="none" if folded else chosen_law(config),
        connection=PLAIN if folded else chosen_rule(config).connection,
    )


def normalisation(network: PortableNetwork) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, of pixels in [0, 1], that the network is given."""
    if network.config.augment.normalize == "imagenet":
        return augment.IMAGENET_MEAN, augment.IMAGENET_STD
    return network.info.mean, network.info.std
