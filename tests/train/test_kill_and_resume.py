"""A few rounds of tests/kill_and_resume.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import Progress

from kill_and_resume import kill_and_resume

pytestmark = pytest.mark.quick_compile


@pytest.mark.exhaustive
def test_a_real_run_ends_the_same_whenever_it_is_killed(tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        outcome = kill_and_resume(tmp_path, kills=2, seed=1, epochs=3, progress=progress)
    assert outcome.kills == 2
    assert outcome.runs >= 1
