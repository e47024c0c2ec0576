"""Panels: the parts of the page, each under a tab."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape
from PIL import Image


@dataclass(frozen=True)
class Panel:
    """What a tab shows."""

    title: str
    """Of the tab."""
    body: Markup
    """HTML; what comes from names and files is escaped in it."""


def chart(figure: Any, height: int = 420) -> Markup:
    """A chart that is drawn when it is first seen.

    Args:
        figure: plotly's, with its title in `layout.meta`.
        height: in CSS pixels.
    """
    # "</script>" in a name must not end the script that holds it.
    data = figure.to_json().replace("<", "\\u003c")
    title = figure.layout.meta
    return Markup(
        '<h3>{}</h3><div class="chart" style="height:{}px" role="img" aria-label="{}">'
        '<script type="application/json">{}</script></div>'
    ).format(title, height, title, Markup(data))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Markup:
    """A table; numbers given as text are set flush right where their column says so with '>'."""
    right = [h.startswith(">") for h in header]
    kind = [Markup(' class="number"') if r else Markup("") for r in right]
    head = Markup("").join(
        Markup("<th{}>{}</th>").format(k, h.removeprefix(">"))
        for h, k in zip(header, kind, strict=True)
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup("<td{}>{}</td>").format(k, cell) for cell, k in zip(row, kind, strict=True)
            )
        )
        for row in rows
    )
    title = Markup("<caption>{}</caption>").format(caption) if caption else Markup("")
    return Markup(
        '<div class="scroll"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(title, head, body)


def picture(pixels: npt.NDArray[np.uint8], text: str, scale: int = 3) -> Markup:
    """An image whose pixels stay squares.

    Args:
        pixels: uint8 [H, W, 3].
        text: that stands for it.
        scale: CSS pixels of one of its own.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = pixels.shape[:2]
    return Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" height="{}">').format(
        Markup(data), text, width * scale, height * scale
    )


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph of text with no other markup than `code`."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text)))
    return Markup('<p class="{}">{}</p>').format(kind, Markup(marked))


def heading(text: str) -> Markup:
    """A heading inside a panel."""
    return Markup("<h3>{}</h3>").format(text)


def details(summary: str, body: Markup) -> Markup:
    """What is folded away until it is asked for."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, body)


def joined(parts: Iterable[Markup]) -> Markup:
    """One piece after the other."""
    return Markup("").join(parts)


def shown(value: Any) -> str:
    """A value of a config, as a command line takes it."""
    return "none" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
