"""What a run leaves behind: the schema of its folder, written whole or not at all, and read back.

    runs/<name>/config.json     the resolved configuration
                origin.json     code, images and settings that decide the result; who made it
                metrics.jsonl   a line an epoch
                ledger.json     what its time was spent on, session by session
                result.json     once the run has ended
                checkpoints/    Orbax
                figures/

Nothing here imports JAX: a record can be read, and drawn, anywhere.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physjax import files, schema
from physjax.config import Config, ConfigError, differences, from_dict, run_name, to_dict
from physjax.records import provenance
from physjax.records.epochs import Line, best_test_accuracy, parse_lines
from physjax.records.ledger import Ledger, Session
from physjax.records.provenance import Origin
from physjax.records.run import EpochRecord, RecordError, Result


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder tells it; `result` is None until it has ended."""

    config: Config
    epochs: tuple[EpochRecord, ...]
    result: Result | None
    origin: Origin | None = None
    """None where the run was begun before origins were recorded."""


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` so that a reader finds the old content or the new, never half."""
    files.atomic_write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, advice: str) -> Any:
    """The value in a JSON file. Raises RecordError, ending in `advice`, where it cannot be read."""
    try:
        return schema.parse_json(files.read_text(path), str(path), RecordError)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged ({error}); {advice}") from error


class RunFolder:
    """The files of one run below `runs_dir`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, config: Config) -> RunFolder:
        """The folder of the run of `config`, whether it is there or not."""
        return cls(Path(config.run.runs_dir) / run_name(config))

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"

    @property
    def _ledger(self) -> Path:
        return self.path / "ledger.json"

    @property
    def _origin(self) -> Path:
        return self.path / "origin.json"

    def locked(self) -> AbstractContextManager[None]:
        """Be the only process that works in the folder. Raises Locked, which names the other."""
        return files.exclusive_lock(self.path, "run")

    def check(self, config: Config) -> None:
        """Raise RecordError where the folder is not free for, or a run of, `config`."""
        if self._config.exists():
            changed = differences(self.read_config(), config)
            if changed:
                raise RecordError(
                    f"{self.path} holds a run of another config ({'; '.join(changed)}); "
                    "choose another --name, or remove the folder"
                )
        elif self._metrics.exists() or self.checkpoints.exists():
            raise RecordError(f"there is no {self._config}; {_CONFIG_ADVICE}")
        elif self.path.exists() and not files.is_empty(self.path):
            raise RecordError(
                f"{self.path} is not empty and holds no run; choose another --name or --runs-dir"
            )

    def check_origin(self, origin: Origin) -> None:
        """Raise OriginError where the folder holds a run of other code, images or settings."""
        earlier = self.read_origin()
        if earlier is not None:
            provenance.refuse(earlier, origin, f"the run in {self.path}")

    def open(self, config: Config, origin: Origin | None = None) -> None:
        """Start the folder, or go on in it.

        Raises RecordError or OriginError, and changes nothing, where it holds a run of another
        config or origin.
        """
        self.check(config)
        if origin is not None:
            self.check_origin(origin)
        if not self._config.exists():
            write_json(self._config, to_dict(config))
        if origin is not None:
            self._add_session(origin)
        files.remove_leftovers(self.path)

    def read_config(self) -> Config:
        """The config that the folder was started with."""
        if not self._config.exists():
            raise RecordError(f"{self.path} holds no run: there is no config.json in it")
        values = read_json(self._config, _CONFIG_ADVICE)
        try:
            return from_dict(values, str(self._config))
        except ConfigError as error:
            raise RecordError(f"{error}; {_CONFIG_ADVICE}") from None

    def _add_session(self, origin: Origin) -> None:
        """Note that the run is worked on by the process that `origin` ends with."""
        earlier = self.read_origin()
        if earlier is not None:
            new = (s for s in origin.sessions if s not in earlier.sessions)
            origin = dataclasses.replace(earlier, sessions=(*earlier.sessions, *new))
        elif self._metrics.exists() or self.checkpoints.exists():
            return  # Whose steps these are is not known, and must not look as if it were.
        write_json(self._origin, provenance.to_dict(origin))

    def read_origin(self) -> Origin | None:
        """Where the run comes from; None where that was not recorded."""
        if not self._origin.exists():
            return None
        values = read_json(self._origin, _ORIGIN_ADVICE)
        try:
            return provenance.from_dict(values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"{self._origin} is damaged ({error!r}); {_ORIGIN_ADVICE}") from error

    def set_aside(self) -> Path | None:
        """Rename the folder to <name>.old-1, or the next number that is free, so that its run can
        start anew; the new path. None where it holds no run.

        Raises Locked where a process is at work in it.
        """
        if not self._config.exists():
            return None
        with self.locked(), files.naming(self.path, "renamed"):
            aside = files.free_name(self.path)
            self.path.rename(aside)
        return aside

    def read_lines(self) -> tuple[Line, ...]:
        """The sound lines of metrics.jsonl: epochs 1, 2, ... up to one that is cut off by a kill,
        damaged, doubled or missing."""
        return self._parsed()[0]

    def _parsed(self) -> tuple[tuple[Line, ...], str]:
        return parse_lines(self._metrics.read_bytes()) if self._metrics.exists() else ((), "")

    def read_epochs(self) -> tuple[EpochRecord, ...]:
        """What the sound lines of metrics.jsonl say."""
        return tuple(line.epoch for line in self.read_lines())

    def keep_lines(self, lines: Sequence[Line]) -> None:
        """Leave only these lines in metrics.jsonl, for a run that goes on from there."""
        files.atomic_write(self._metrics, "".join(f"{line.text}\n" for line in lines))

    def append_epoch(self, epoch: EpochRecord) -> Line:
        """Add one line to metrics.jsonl."""
        text = json.dumps(dataclasses.asdict(epoch), allow_nan=False)
        files.append_line(self._metrics, text)
        return Line(text, epoch)

    def read_sessions(self) -> tuple[Session, ...]:
        """The sessions in ledger.json; none where the run is older than that."""
        if not self._ledger.exists():
            return ()
        values = read_json(self._ledger, _LEDGER_ADVICE)
        try:
            return schema.read(Ledger, values, str(self._ledger), RecordError).sessions
        except RecordError as error:
            raise RecordError(f"{error}; {_LEDGER_ADVICE}") from None

    def write_sessions(self, sessions: tuple[Session, ...]) -> None:
        """Write ledger.json."""
        write_json(self._ledger, dataclasses.asdict(Ledger(sessions)))

    def read_result(self) -> Result | None:
        """The result, or None where the run has not ended."""
        if not self._result.exists():
            return None
        values = read_json(self._result, _RESULT_ADVICE)
        try:
            return schema.read(Result, values, str(self._result), RecordError)
        except RecordError as error:
            raise RecordError(f"{error}; {_RESULT_ADVICE}") from None

    def write_result(self, result: Result) -> None:
        """Write result.json: the run has ended."""
        write_json(self._result, dataclasses.asdict(result))

    def read(self) -> RunRecord:
        """The whole record.

        Raises:
          RecordError: there is none, or its parts do not belong together.
        """
        config, (lines, problem), result = self.read_config(), self._parsed(), self.read_result()
        epochs = tuple(line.epoch for line in lines)
        if result is not None:
            disagreement = problem or _disagreement(config, epochs, result)
            if disagreement:
                raise RecordError(
                    f"{self._metrics} does not agree with result.json ({disagreement}); "
                    f"{_RESULT_ADVICE}"
                )
        return RunRecord(config, epochs, result, self.read_origin())


_CONFIG_ADVICE = (
    "the run's command with --dry-run prints the config: put it there, or remove the run's folder "
    "to start afresh"
)
_ORIGIN_ADVICE = (
    "start the run anew with --fresh (the old is kept), or remove origin.json to take the run as "
    "one of unknown code"
)
_LEDGER_ADVICE = "remove it, and what the earlier sessions took is all that is lost"
_RESULT_ADVICE = (
    "remove result.json, and the run's command ends the run again from its last checkpoint"
)


def _disagreement(config: Config, epochs: tuple[EpochRecord, ...], result: Result) -> str:
    if len(epochs) != result.epochs:
        return f"{len(epochs)} epochs, {result.epochs} in the result"
    if config.optim.epochs != result.epochs:
        return f"{result.epochs} epochs in the result, {config.optim.epochs} in config.json"
    last = epochs[-1]
    for name, value, other in (
        ("step", last.step, result.steps),
        ("training accuracy", last.train_accuracy, result.train_accuracy),
        ("test accuracy", last.test_accuracy, result.test_accuracy),
        ("best test accuracy", best_test_accuracy(epochs), result.best_test_accuracy),
    ):
        if value != other:
            return f"{name} {value}, {other} in the result"
    return ""
