"""What the time of a run was spent on, session by session: ledger.json, and its sum.

A session is one process at work on a run. A batch job has many: it is preempted, killed or out of
time, waits in a queue, loads and compiles anew, and does the steps again that came after its last
checkpoint. Goodput is the share of all that time which went into steps that counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

from physjax import schema
from physjax.records.run import Amount, Number, RecordError, Spent

Kind = Literal["steps", "compile", "data", "evaluation", "checkpoints", "waiting", "other"]
KINDS: tuple[Kind, ...] = (
    *("steps", "compile", "data", "evaluation"),
    *("checkpoints", "waiting", "other"),
)
"""Training steps; compiling; loading the images and bringing them to the devices; evaluation;
saving and restoring checkpoints, as far as the run waits for it; waiting for the other hosts; the
rest."""


@schema.strict(RecordError)
class Session:
    """One process's work on a run, as of its last note of it."""

    began: str
    """By its clock: ISO 8601 with the offset from UTC."""
    seconds: dict[str, Amount]
    """By what they were spent on, `KINDS`: all since it began."""
    first_step: Number
    """That it went on from; 0 in the first one."""
    last_step: Number
    """That it had done. After a kill it may be up to half a minute behind."""
    lost_steps: Number = 0
    """Steps of the session before it that no checkpoint has, so that this one did them again."""


@schema.strict(RecordError)
class Ledger:
    """The sessions of a run, in their order."""

    sessions: tuple[Session, ...] = ()


def sum_up(sessions: Sequence[Session]) -> Spent:
    """What all `sessions` of a run, at least one, come to."""
    seconds = {kind: sum(s.seconds.get(kind, 0.0) for s in sessions) for kind in KINDS}
    between = 0.0
    for before, after in pairwise(sessions):
        apart = datetime.fromisoformat(after.began) - datetime.fromisoformat(before.began)
        # Clocks of two machines may disagree.
        between += max(0.0, apart.total_seconds() - sum(before.seconds.values()))
    return Spent(
        seconds={kind: round(value, 3) for kind, value in seconds.items()},
        between=round(between, 3),
        restarts=len(sessions) - 1,
        lost_steps=sum(s.lost_steps for s in sessions),
    )


def goodput(spent: Spent, steps: int) -> float:
    """The share of a run's time, in [0, 1], in which steps were done that counted.

    The time between sessions is no part of it: that is the queue's.

    Args:
      spent: by the run.
      steps: that it has in the end.
    """
    whole = sum(spent.seconds.values())
    counted = steps / (steps + spent.lost_steps) if steps else 0.0
    return counted * spent.seconds.get("steps", 0.0) / whole if whole else 0.0
