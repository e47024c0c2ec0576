"""Seeded damage to files: what disks, copies and half-finished writes do to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

PAGE = 4096
KINDS = ("flip", "truncate", "empty", "zero a page", "swap pages", "lose", "empty folder", "grow")


def damage(folder: Path, random: np.random.Generator) -> str:
    """Damage one file or folder below `folder`, chosen at random; says what was done to what.

    Every kind of damage and every file is about as likely as any other.
    """
    kind = str(random.choice(KINDS))
    found = sorted(p for p in folder.rglob("*") if p.is_dir() == (kind == "empty folder"))
    if kind == "empty folder":
        found.append(folder)
    path = found[random.integers(len(found))]
    if kind == "empty folder":
        shutil.rmtree(path)
        path.mkdir()
    elif kind == "lose":
        path.unlink()
    else:
        path.write_bytes(_changed(path.read_bytes(), kind, random))
    return f"{kind}: {path.relative_to(folder)}"


def _changed(data: bytes, kind: str, random: np.random.Generator) -> bytes:
    content = bytearray(data)
    at = int(random.integers(max(1, len(content))))
    if kind == "flip" and content:
        content[at] ^= 1 << int(random.integers(8))
    elif kind == "truncate":
        del content[at:]
    elif kind == "empty":
        content.clear()
    elif kind == "zero a page":
        start = at // PAGE * PAGE
        content[start : start + PAGE] = bytes(len(content[start : start + PAGE]))
    elif kind == "swap pages":
        # In a file of one page, its halves.
        size = PAGE if len(content) >= 2 * PAGE else len(content) // 2
        pages = max(1, len(content) // size) if size else 1
        first, second = (int(p) * size for p in random.integers(pages, size=2))
        one, two = content[first : first + size], content[second : second + size]
        content[first : first + size], content[second : second + size] = two, one
    elif kind == "grow":
        content[at:at] = random.bytes(int(random.integers(1, 2 * PAGE)))
    return bytes(content)
