"""What a run shows: a bar with figures on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from physjax.train.progress import Display, format_seconds


def shown(terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, highlight=False)
    with Display("run", 100, console) as display:
        display.say("hello")
        display.step(25, 1234.5, 1.25, 0.5, "epoch 1/4")
    return out.getvalue()


def test_a_terminal_gets_a_bar_with_the_figures() -> None:
    text = shown(True)
    for part in ("25%", "1,234 images/s", "loss 1.250", "accuracy 50.0%", "epoch 1/4", "hello"):
        assert part in text


def test_elsewhere_plain_lines_without_control_characters() -> None:
    assert shown(False) == "hello\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3s"), (59.7, "1m00s"), (75, "1m15s"), (7300, "2h01m")]
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
