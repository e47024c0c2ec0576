"""Where a prepared folder says that it comes from, and what that is worth in a figure's title."""

from __future__ import annotations

import json
from pathlib import Path

from physjax import files
from physjax.data.catalog import KNOWN_COPIES
from physjax.data.spec import DatasetSpec

NAME = "physjax.json"
"""The file beside TFDS's own in a prepared folder."""


def write_provenance(folder: Path, fingerprint: str, verified: bool) -> None:
    """Say which images a folder holds, and whether they come from the published files.

    Args:
      folder: prepared data, e.g. `.../cifar10/3.0.2`.
      fingerprint: of its decoded images.
      verified: whether size and checksum of all archives were those in the table.
    """
    content = {"fingerprint": fingerprint, "verified": verified}
    files.atomic_write(folder / NAME, json.dumps(content, indent=2) + "\n")


def title_and_notice(spec: DatasetSpec, folder: Path, fingerprint: str) -> tuple[str, str]:
    """What figures and records call the images of a folder, and what the user is told of it.

    The plain title is for a known fingerprint, or one that the folder has from published files.

    Args:
      spec: the data set.
      folder: where the images were read.
      fingerprint: of the images that were read.

    Returns:
      (title, notice); the notice is empty unless the copy is unknown.
    """
    known = KNOWN_COPIES.get(spec.name, {}).get(fingerprint)
    if known:
        return known, ""
    if _verified_fingerprint(folder) == fingerprint:
        return spec.title, ""
    return (
        f"{spec.title} (unverified copy)",
        f"{spec.title.upper()} IN {folder} IS AN UNVERIFIED COPY: its fingerprint "
        f"{fingerprint[:12]} is not known, and nothing says that it was prepared from the "
        "published files; every title says so. physjax prepare with another --data-dir "
        "prepares it from them.",
    )


def _verified_fingerprint(folder: Path) -> str | None:
    """The fingerprint that a folder has from the published files, if it says so."""
    try:
        with (folder / NAME).open("rb") as file:
            content = json.loads(file.read(10_000))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("verified") is not True:
        return None
    recorded = content.get("fingerprint")
    return recorded if isinstance(recorded, str) else None
