"""The contract of an export format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from physjax.train.weights.errors import WeightsError

if TYPE_CHECKING:
    from physjax.export.network import PortableNetwork


class ExportError(WeightsError):
    """A network that a format cannot hold; the message says why."""


@dataclass(frozen=True)
class ExportFormat:
    """One way to write a network."""

    name: str
    """In `physjax.export.EXPORTS`, and in `--to`."""
    suffix: str
    """Of its files, with the dot."""
    holds: str
    """What a file holds, for the model card: one sentence."""
    usage: str
    """Python code for the model card that loads the file NAME and makes logits of images. It is run
    by tests. For code that prepares images itself there are CLASSES, the SIDE to resize to, the
    slice MIDDLE of it, and MEAN and DEVIATION."""
    write: Callable[[PortableNetwork, Path], None]
    """Writes the file, whole or not at all. Raises ExportError for what it cannot hold."""
    read: Callable[[Path], PortableNetwork] | None = None
    """Reads such a file again, where it can be; raises WeightsError for what is none."""
