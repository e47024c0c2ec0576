"""An export and its model card, written side by side."""

from __future__ import annotations

from pathlib import Path

from physjax import files
from physjax.export import EXPORTS
from physjax.export.card import model_card
from physjax.export.network import PortableNetwork


def write_export(network: PortableNetwork, to: str, path: Path) -> list[Path]:
    """Write a network in the format `to` into the file `path`, and the card beside it.

    Returns:
      Both files.

    Raises:
      ConfigError: there is no such format.
      ExportError: the format cannot hold the network.
      WeightsError: it needs what is not installed.
    """
    kind = EXPORTS.get_named(to)
    card = path.with_name(f"{path.name}.md")
    text = model_card(network, kind, path)
    with files.naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    kind.write(network, path)
    files.atomic_write(card, text)
    return [path, card]
