"""What a run knows of the weights that it starts from: their hash at once, and what it takes later.

A run that has begun needs them no more; its origin holds their hash, and where they still lie they
must be the same.
"""

from __future__ import annotations

import functools
from pathlib import Path

from physjax.config import Config
from physjax.records.provenance import Weights
from physjax.train.setup import TrainSetup
from physjax.train.weights.errors import WeightsError
from physjax.train.weights.match import Start, match
from physjax.train.weights.names import Arrays
from physjax.train.weights.source import digest_of, read_source


def find_weights(config: Config) -> Weights | None:
    """Which weights `config` names; None where it names none, or they are not there any more.

    Raises:
      UserError: what is there cannot be read.
    """
    named = config.model.start_from
    digest = None if named is None else digest_of(Path(named).expanduser())
    return None if named is None or digest is None else Weights(named, digest)


class GivenWeights:
    """The weights that a run starts from, read where they are first asked for.

    Args:
      setup: of the run, whose config names them.
      found: what :func:`find_weights` gave.
    """

    def __init__(self, setup: TrainSetup, found: Weights | None) -> None:
        self._setup, self._found = setup, found

    @functools.cached_property
    def _start(self) -> Start | None:
        named = self._setup.config.model.start_from
        if named is None:
            return None
        path = Path(named).expanduser()
        start = match(self._setup, read_source(path), named)
        if self._found is None or digest_of(path) != self._found.sha256:
            raise WeightsError(f"{named} has changed while it was read; begin again")
        return start

    def read(self) -> Arrays | None:
        """What the network takes of them, by names with dots; None where the config names none.

        Raises:
          UserError: they are not there, damaged, of another network, or changed meanwhile.
        """
        return None if self._start is None else self._start.arrays

    def __str__(self) -> str:
        found = self._found
        mark = "" if found is None else f" (SHA-256 {found.sha256[:12]})"
        return f"starts from {self._setup.config.model.start_from}{mark}: {self._start}"
