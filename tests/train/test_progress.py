"""What a run shows: a bar with figures on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from helpers.runs import configure
from physjax.study.progress import StudyDisplay
from physjax.train.loop import fit
from physjax.train.progress import Display, Pace, format_seconds

pytestmark = pytest.mark.quick_compile

NAME = "densenet-ring-fashion_mnist-paper-seed4294967295-1a2b3c"
PHASES = ("compiling", "training", "saving", "evaluating")


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def screens(width: int | None) -> dict[str, str]:
    """What a run shows in each of its phases, without control characters; None: no terminal."""
    out, clock, found = io.StringIO(), Clock(), {}
    console = Console(
        file=out, force_terminal=width is not None, width=width or 140, highlight=False
    )
    with Display(NAME, 10_000, console, pause_every=1000, clock=clock) as display:
        display.say("hello")
        for step in (0, 450, 900):
            clock.now += 60
            display.step(step, 12345.6, 12.345, 0.05, "epoch 100/300")
        for phase in PHASES:
            out.seek(0)
            out.truncate()
            display.phase(phase)
            if display._bar is not None:
                display._bar.refresh()
            found[phase] = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    return found


@pytest.mark.parametrize("width", [80, 100])
def test_a_terminal_gets_a_real_bar_the_time_left_and_what_is_done(width: int) -> None:
    for phase, text in screens(width).items():
        bar, figures = text.replace("\r", "\n").strip("\n").split("\n")[-2:]
        assert len(bar.rstrip()) <= width
        assert bar.startswith(f"epoch 100/300 {phase} ")
        assert bar.count("━") + bar.count("╸") + bar.count("╺") >= 20
        assert " 9% about 20m13s left" in bar
        assert "12,346 images/s  loss 12.345  accuracy 5.0%" in figures
        assert len(figures.rstrip()) <= width


def test_a_run_on_a_terminal_says_what_it_is_at(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, highlight=False)
    fit(configure(tmp_path, optim={"epochs": 1}), console=console)
    said = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    bars = [line for line in re.split("[\r\n]+", said) if "━" in line]
    phases = [re.sub("^epoch 1/1 ", "", bar).split()[0] for bar in bars]
    order = [phase for phase in dict.fromkeys(phases) if phase in PHASES]
    assert order == list(PHASES)
    assert max(map(len, bars)) <= 80


def test_elsewhere_plain_lines_without_control_characters() -> None:
    out, clock = io.StringIO(), Clock()
    with Display("run", 100, Console(file=out, width=140), clock=clock) as display:
        display.say("hello")
        display.phase("compiling")
        display.step(10, 1234.5, 1.25, 0.5, "epoch 1/4")  # too soon for a line of its own
        display.phase("saving")
        clock.now += 31
        display.step(20, 1234.5, 1.25, 0.5, "epoch 1/4")
        display.phase("evaluating")
        clock.now += 31
        display.phase("evaluating")
    assert out.getvalue().splitlines() == [
        "hello",
        "  compiling",
        "  step 20/100  1,234 images/s  loss 1.250  accuracy 50.0%  epoch 1/4  about 4m08s left",
        "  evaluating",
    ]


def test_the_time_left_counts_the_evaluations_that_are_to_come() -> None:
    """Steps of 1 s, and after every tenth an evaluation of 30 s."""
    clock = Clock()
    pace = Pace(40, 10, clock)

    def go(seconds: float) -> None:
        clock.now += seconds

    pace.phase("compiling")
    go(100)
    pace.phase("training")
    go(5)
    pace.step(1)  # of what was queued before
    assert pace.seconds_left() is None
    go(9)
    pace.step(10)
    assert pace.seconds_left() == pytest.approx(30)
    pace.phase("saving")
    go(10)
    pace.phase("evaluating")
    go(20)
    # That of the first epoch has ended, as far as anyone can say.
    assert pace.seconds_left() == pytest.approx(30 + 3 * 30)
    pace.phase("training")
    assert pace.seconds_left() == pytest.approx(30 + 3 * 30)
    go(5)
    pace.step(15)
    pace.phase("saving")  # in the middle of an epoch: no evaluation
    pace.phase("training")
    go(5)
    pace.step(20)
    assert pace.seconds_left() == pytest.approx(20 + 2 * 30)
    pace.phase("evaluating")
    assert pace.seconds_left() == pytest.approx(20 + 3 * 30)
    go(12)
    assert pace.seconds_left() == pytest.approx(20 + 2 * 30 + 18)
    go(100)
    assert pace.seconds_left() == pytest.approx(20 + 2 * 30)


def test_a_night_that_a_job_was_suspended_is_not_taken_for_its_pace() -> None:
    clock = Clock()
    pace = Pace(1000, 100, clock)
    for step in range(1, 99):
        clock.now += 8 * 3600 if step == 50 else 1
        pace.step(step)
    assert pace.seconds_left() == pytest.approx(902)
    for step in range(99, 190):  # and a machine that it shares from now on is
        clock.now += 2
        pace.step(step)
    assert pace.seconds_left() == pytest.approx(811 * 2)


def test_a_study_and_its_run_share_a_screen_of_80_columns() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, highlight=False)
    with StudyDisplay("alexnet_fashion_mnist", 18, console) as display:
        display.begin("alexnet-scaled-bias-fashion_mnist-seed0", 3, [4000.0, None, 5000.0])
        with Display("alexnet-scaled-bias-fashion_mnist-seed0", 100, console) as inner:
            inner.phase("compiling")
            out.truncate(0)
            assert inner._bar is not None
            inner._bar.refresh()
            text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    assert " 3/18 over 2h30m left" in text
    assert "compiling " in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3s"), (59.7, "1m00s"), (75, "1m15s"), (7300, "2h01m")]
)
def test_times_as_people_read_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
