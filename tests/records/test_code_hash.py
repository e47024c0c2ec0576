"""The hash of a piece of code: it changes with what is computed, and with nothing else."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from physjax.errors import UserError
from physjax.forces import ForceLaw
from physjax.forces.divisive import DIVISIVE
from physjax.forces.lrn import LRN
from physjax.records.code_hash import code_of

PLUGIN = '''
"""Laws of somebody's own."""
import math
from helpers_of_mine import scale, unused
from physjax.forces import ForceLaw

STRENGTH = 2.0
TABLE = {}
TABLE["a"] = 1

def _double(y: float) -> float:
    """Twice y."""
    return 2.0 * y  # no more than that

def force(params, y):
    """The force."""
    return STRENGTH * scale(_double(y)) + TABLE["a"] + math.pi

def elsewhere(y):
    return y

LAW = ForceLaw(name="mine", equation="2 y", source="me", force=force)
'''
HELPERS = "FACTOR = 3.0\n\ndef scale(y):\n    return FACTOR * y\n\ndef unused(y):\n    return y\n"

Load = Callable[..., types.ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Writes the two modules, with replacements in their text, and imports the law's anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = ("laws_of_mine", "helpers_of_mine")

    def write(*changes: tuple[str, str]) -> types.ModuleType:
        texts = [PLUGIN, HELPERS]
        for old, new in changes:
            assert any(old in text for text in texts)
            texts = [text.replace(old, new) for text in texts]
        for name, text in zip(names, texts, strict=True):
            (tmp_path / f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(names[0])

    return write


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0 * y", "2.5 * y"),  # a helper
        ("STRENGTH = 2.0", "STRENGTH = 2.1"),  # a constant
        ('TABLE["a"] = 1', 'TABLE["a"] = 2'),  # a change of one
        ("FACTOR = 3.0", "FACTOR = 4.0"),  # a constant in a module beside it
        ("math.pi", "math.e"),
        ("force=force)", 'force=force, form="linear")'),  # what the law declares
        ("force=force)", 'force=force, place="after_activation")'),
        ("import math", "import cmath as math"),
    ],
)
def test_what_is_computed_changes_the_hash(load: Load, old: str, new: str) -> None:
    before = code_of(load().LAW)
    assert before.module == "helpers_of_mine, laws_of_mine"
    assert code_of(load((old, new)).LAW).sha256 != before.sha256


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# no more than that", "# twice"),
        ('"""Twice y."""', '"""y, doubled."""'),
        ('    """The force."""\n', ""),
        ("(y: float) -> float", "(y)"),
        ("STRENGTH = 2.0", "STRENGTH = (\n    2.0\n)"),
        ("def elsewhere(y):\n    return y", "def elsewhere(y):\n    return 2 * y"),
        ("def unused(y):\n    return y", "def unused(y):\n    return -y"),
        ('equation="2 y"', 'equation="twice y"'),
        ("force=force)", "force=force, ordered=False, recorded=())"),  # says what it computes
    ],
)
def test_words_layout_and_other_code_do_not(load: Load, old: str, new: str) -> None:
    before = code_of(load().LAW)
    assert code_of(load((old, new)).LAW) == before


def test_another_file_name_is_the_same_code(load: Load, tmp_path: Path) -> None:
    before = code_of(load().LAW)
    (tmp_path / "laws_moved.py").write_text((tmp_path / "laws_of_mine.py").read_text())
    moved = importlib.import_module("laws_moved")
    assert code_of(moved.LAW).sha256 == before.sha256
    assert code_of(moved.LAW).module == "helpers_of_mine, laws_moved"


def test_a_file_edited_after_its_import_is_refused(load: Load, tmp_path: Path) -> None:
    """What runs is the old code; the file's hash would vouch for the new one."""
    module = load()
    path = tmp_path / "laws_of_mine.py"
    path.write_text(path.read_text().replace("STRENGTH * scale", "STRENGTH + scale"))
    with pytest.raises(UserError, match=r"force in .*laws_of_mine\.py was edited after it was imp"):
        code_of(module.LAW)


def test_values_that_a_function_carries_count() -> None:
    def law(factor: float) -> ForceLaw:
        return ForceLaw("x", "", "", lambda params, y: factor * y)

    assert code_of(law(1.0)) == code_of(law(1.0))
    assert code_of(law(1.0)) != code_of(law(2.0))
    one, two = (functools.partial(np.power, np.full(3, x)) for x in (1.0, 2.0))
    assert code_of(one) == code_of(functools.partial(np.power, np.full(3, 1.0)))
    assert code_of(one) != code_of(two)


def test_laws_of_the_house_know_their_helpers_and_no_more() -> None:
    assert code_of(DIVISIVE).module == "physjax.forces.divisive, physjax.forces.neighborhood"
    assert code_of(DIVISIVE).sha256 != code_of(LRN).sha256
    renamed = dataclasses.replace(LRN, name="other", equation="", source="")
    assert code_of(renamed) == code_of(LRN)


NO_FILE = """
from physjax.records.code_hash import code_of
WEIGHT = {weight}
def helper(y):
    return WEIGHT * y
def force(params, y):
    {doc}
    return helper(y)  {comment}
print(code_of(force).module, code_of(force).sha256)
"""


def test_code_of_standard_input_is_known_by_its_bytecode() -> None:
    """So are cells of a notebook and lines of a REPL."""

    def of(weight: float, doc: str = '"a"', comment: str = "") -> str:
        return subprocess.run(
            [sys.executable, "-"],
            input=NO_FILE.format(weight=weight, doc=doc, comment=comment),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = of(2.0)
    assert first.startswith("__main__ ")
    assert of(2.0, '"b"', "# helped") == first
    assert of(3.0) != first
