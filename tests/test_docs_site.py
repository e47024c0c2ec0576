"""The documentation site as a browser shows it where there is no network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import docs

pytest.importorskip("sphinx", reason="install the extra `docs`")
pytest.importorskip("latex2mathml", reason="install the extra `docs`")

CONF = """
from pathlib import Path
__file__ = {conf!r}
exec(compile(Path(__file__).read_text(encoding="utf-8"), __file__, "exec"))
include_patterns, root_doc = ["docs/physics.md"], "docs/physics"
_commands = _api = lambda: None
"""
"""The site's own configuration, with a single page, and none that is made of the code."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the formulas."""
    folder = tmp_path_factory.mktemp("site")
    conf = docs.ROOT / "docs" / "site" / "conf.py"
    (folder / "conf.py").write_text(CONF.format(conf=str(conf)), encoding="utf-8")
    words = ("-q", "-b", "html", "-c", str(folder), str(docs.ROOT), str(folder / "built"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "built" / "docs" / "physics.html"


@pytest.mark.slow
def test_formulas_are_shown_and_nothing_is_fetched(page: Path, browser: Any) -> None:
    text = page.read_text(encoding="utf-8")
    fetched = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?:[^\"]*)", text)
    assert fetched == []
    source = docs.read("docs/physics.md")
    displayed = len(re.findall(r"\$\$.+?\$\$", source, re.DOTALL))
    inline = len(re.findall(r"\$[^$]+?\$", re.sub(r"\$\$.+?\$\$", "", source, flags=re.DOTALL)))
    assert displayed >= 3
    browser.get(page.as_uri())
    # Of every formula its size, and of its fractions how high they are beside a letter.
    formulas = browser.execute_script(
        "return [...document.querySelectorAll('math')].map(m => {"
        "const size = e => e.getBoundingClientRect();"
        "const letters = [...m.querySelectorAll('mi, mn')].map(e => size(e).height);"
        "const fractions = [...m.querySelectorAll('mfrac')].map(e => size(e).height);"
        "return [size(m).width, size(m).height, Math.max(...letters), fractions]})"
    )
    assert len(formulas) == displayed + inline
    assert all(width > 3 and height > 3 for width, height, _, _ in formulas)
    fractions = [(high, letter) for _, _, letter, own in formulas for high in own]
    assert len(fractions) == 2
    assert all(high > 1.5 * letter for high, letter in fractions), "laid out, not in a row"
    entries = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in entries if not name.startswith("file:")] == []
    assert "\\\\frac" not in browser.find_element("tag name", "article").text
