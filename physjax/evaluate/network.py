"""A trained network at hand: its variables, and probabilities for images.

A force that can be merged into the convolution is merged for this: it costs nothing then, and
changes the logits by rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from physjax.data.lazy import Images
from physjax.nn.fold import fold, foldable
from physjax.train.predict import Predictor, Views
from physjax.train.setup import TrainSetup
from physjax.train.sharding import place


class TrainedNetwork:
    """A network with the variables that it was trained to.

    Args:
      setup: of the run.
      variables: `params` and, with a norm, `batch_stats`, as they were trained.
      merge: whether to predict with the plain twin where there was a force, or a learning rule with
        parameters in every layer, and all can be merged into the kernels and biases.

    Attributes:
      folded: whether something was merged.
    """

    def __init__(
        self, setup: TrainSetup, variables: Mapping[str, Any], *, merge: bool = True
    ) -> None:
        law, connection = setup.law, setup.rule.connection
        something = law.name != "none" or bool(connection.params)
        self.folded = merge and foldable(law) and something
        if self.folded:
            variables = fold(variables, law, connection)
        self._setup, self._variables = setup, place(setup, variables)
        self._predictors: dict[tuple[Views, int], Predictor] = {}

    def log_probabilities(self, images: Images, tta: Views = "none") -> npt.NDArray[np.float64]:
        """Logarithms of class probabilities, [N, K], for images uint8 [N, S, S, 3].

        Args:
          images: of any number; batches of one size are made of them.
          tta: test-time augmentation: views of each image to average the probabilities over.

        Raises:
          ConfigError: `tta` mirrors images whose mirror image shows no such class.
        """
        predictor = self._predictor(len(images), tta)
        batches = predictor.batches(images)
        return predictor.log_probabilities(self._variables, batches, len(images))[0]

    def _predictor(self, count: int, tta: Views) -> Predictor:
        """One whose batches are hardly larger than `count` images, of those there are if it can be.

        Else a single image would be computed as many times as the run evaluates at once.
        """
        most = self._setup.config.run.eval_batch_size
        least = min(count, most)
        sizes = [size for views, size in self._predictors if views == tta and size >= least]
        size = min(sizes, default=min(most, 1 << max(least - 1, 0).bit_length()))
        if (tta, size) not in self._predictors:
            self._predictors[tta, size] = Predictor(
                self._setup, self._variables, tta=tta, folded=self.folded, batch_size=size
            )
        return self._predictors[tta, size]
