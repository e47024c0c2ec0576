"""The documentation site, by Sphinx: `make docs` builds it in build/site.

Its source is the checkout itself, so that pages link to each other as they do in the repository;
what is linked to and is no page (records, scripts, figures) comes along as a file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode, math_block

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "reference"

project = "physjax"
author = "The physjax developers"
copyright = author
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/*.ipynb",
    "docs/reference/*.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "results/README.md",
    "results/studies/*/tables.md",
]
exclude_patterns = ["docs/site/**"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
# Run and compared by tests/test_docs.py, and stored with their outputs.
nb_execution_mode = "off"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline"]
# A single-quoted word in a docstring is code, as in Markdown.
default_role = "code"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "physjax"
html_static_path: list[str] = []
# Links to headings of pages that only the repository shows with other anchors are checked there.
suppress_warnings = ["myst.header"]


def _commands() -> None:
    """docs/reference/commands.md, from what each command says of itself."""
    from physjax.cli import COMMANDS

    parts = [
        "# Commands\n",
        "What `physjax COMMAND --help-verbose` says; [the README](../../README.md) has the options "
        "that matter most.\n",
    ]
    for name, text in COMMANDS.items():
        words = [sys.executable, "-m", "physjax", name]
        verbose = "--help-verbose" if name == "train" else "--help"
        said = subprocess.run(
            [*words, verbose], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        parts.append(
            f"## physjax {name}\n\n{text.capitalize()}.\n\n```text\n{said.rstrip()}\n```\n"
        )
    (GENERATED / "commands.md").write_text("\n".join(parts), encoding="utf-8")


def _api() -> None:
    """docs/reference/api.md, from the public names."""
    import physjax

    functions, classes, registries = [], [], []
    for name in physjax.__all__:
        value: Any = getattr(physjax, name)
        if isinstance(value, type):
            lines = [f".. autoclass:: {value.__module__}.{name}", "   :members:"]
            if not issubclass(value, Exception):
                lines.append("   :inherited-members:")
            classes.append(_directive(lines))
        elif callable(value):
            functions.append(_directive([f".. autofunction:: {value.__module__}.{value.__name__}"]))
        else:
            rows = [f"| `{key}` | {_said(entry)} |" for key, entry in value.items()]
            head = [f"### `physjax.{name}`\n", "| name | what it is |", "|---|---|"]
            registries.append("\n".join([*head, *rows, ""]))
    parts = [
        "# Python\n",
        "The names of `import physjax`; [Python](../python.md) shows them used.\n",
        "## Functions\n",
        *functions,
        "## Classes\n",
        *classes,
        "## Registries\n",
        *registries,
    ]
    (GENERATED / "api.md").write_text("\n".join(parts), encoding="utf-8")


def _directive(lines: list[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```\n"])


def _said(entry: Any) -> str:
    """What a registry's entry says of itself, in a cell of a table."""
    for attribute in ("equation", "title", "source"):
        text = getattr(entry, attribute, "")
        if text:
            return f"`{text}`" if attribute == "equation" else str(text)
    return ""


def _show_formula(translator: Any, node: Any) -> None:
    """A formula as MathML, which browsers show without a script, and so without a network."""
    from latex2mathml.converter import convert

    block = isinstance(node, math_block)
    formula = convert(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="math">{formula}</div>\n' if block else formula)
    raise SkipNode


def setup(app: Any) -> None:
    """Write the pages that are made of the code."""
    pair = (_show_formula, None)
    app.add_html_math_renderer("mathml", inline_renderers=pair, block_renderers=pair)
    GENERATED.mkdir(exist_ok=True)
    _commands()
    _api()
