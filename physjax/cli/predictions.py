"""How predictions are written: as a table, as JSON, as CSV; line by line, as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.cells import cell_len, set_cell_size

from physjax.data.images import shown


@dataclass(frozen=True)
class Prediction:
    """What a network sees on an image."""

    path: Path
    classes: tuple[tuple[str, float], ...]
    """(name, probability), the most probable first."""


class Writer(Protocol):
    """Text of many predictions, in pieces that are written one after the other."""

    def head(self) -> str:
        """What comes first; empty: nothing."""

    def line(self, prediction: Prediction) -> str:
        """One image."""

    def tail(self) -> str:
        """What comes last; empty: nothing."""


class TableWriter:
    """A line for each image: its path, and the classes with their probabilities in percent."""

    def __init__(self, paths: Sequence[Path], class_names: Sequence[str], top: int) -> None:
        self._path = max([len("image"), *(cell_len(shown(path)) for path in paths)])
        self._class = max(map(cell_len, class_names))
        self._top = top

    def head(self) -> str:
        columns = [_padded(str(rank), self._class + 8) for rank in range(1, self._top + 1)]
        return "  ".join([_padded("image", self._path), *columns]).rstrip()

    def line(self, prediction: Prediction) -> str:
        cells = [f"{_padded(name, self._class)} {100 * p:5.1f} %" for name, p in prediction.classes]
        return "  ".join([_padded(shown(prediction.path), self._path), *cells])

    def tail(self) -> str:
        return ""


def _padded(text: str, width: int) -> str:
    return set_cell_size(text, width)


class JsonWriter:
    """A list of {"image": path, "classes": [{"class": name, "probability": p}, ...]}."""

    def __init__(self) -> None:
        self._separator = ""

    def head(self) -> str:
        return "["

    def line(self, prediction: Prediction) -> str:
        classes = [{"class": name, "probability": round(p, 6)} for name, p in prediction.classes]
        text = json.dumps({"image": _text(prediction.path), "classes": classes})
        line, self._separator = f"{self._separator}{text}", ", "
        return line

    def tail(self) -> str:
        return "]"


class CsvWriter:
    """Lines of image, rank from 1, class and probability."""

    def head(self) -> str:
        return "image,rank,class,probability"

    def line(self, prediction: Prediction) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        for rank, (name, p) in enumerate(prediction.classes, 1):
            rows.writerow([_text(prediction.path), rank, name, round(p, 6)])
        return text.getvalue().rstrip("\n")

    def tail(self) -> str:
        return ""


def _text(path: Path) -> str:
    """The path; what in it is no UTF-8 with a backslash."""
    return str(path).encode("utf-8", "backslashreplace").decode()
