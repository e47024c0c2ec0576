"""fit(config): train a model from its config to its record, or go on where a run stopped.

The only file that does I/O while training. A run may be ended at any moment: it goes on from its
last checkpoint and ends bit for bit where it would have ended anyway.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from physjax import data, runtime
from physjax.config import Config, ConfigError, run_name
from physjax.errors import Interrupted, NotFinite
from physjax.forces import get_law
from physjax.models import law_name
from physjax.records import (
    DataFacts,
    DeviceFacts,
    EpochRecord,
    Line,
    Result,
    RunFolder,
    RunRecord,
    best_epoch,
    digest,
    median_images_per_second,
    selection_criterion,
)
from physjax.records.provenance import Origin, changes
from physjax.train import multihost, signals, tensorboard
from physjax.train.checkpoint import Checkpoints, check_path
from physjax.train.choices import without_effect
from physjax.train.diagnostics import diagnostics, law_parameters
from physjax.train.optimizer import make_schedule
from physjax.train.origin import current_origin, identity
from physjax.train.progress import Display, format_seconds
from physjax.train.setup import Task, epoch_order
from physjax.train.sharding import compile_step, place
from physjax.train.state import NEVER, Metrics, init_state
from physjax.train.step import Evaluation, eval_step, evaluation_starts, train_step

# Of several hosts. With steps of a tenth of a second, and 16 in a call, every 16 s.
_CALLS_BETWEEN_LOOKS = 10


def resolve(config: Config) -> Config:
    """`config` checked and complete: `auto` replaced by the data set that it stands for here."""
    _check_choices(config)
    return _with_dataset(config, data.resolve(config.data))


def _check_choices(config: Config) -> None:
    """Raise ConfigError for names that do not exist, and for options that do nothing."""
    lines = without_effect(config)
    if lines:
        raise ConfigError("; ".join(lines))


def _with_dataset(config: Config, name: str) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, dataset=name))


def fit(
    config: Config,
    console: Console | None = None,
    *,
    fresh: Literal["no", "changed", "yes"] = "no",
    in_study: bool = False,
) -> RunRecord:
    """Run `config` to its end, from its last checkpoint where there is one.

    Args:
      config: of the run.
      console: where its progress is shown.
      fresh: start anew, the earlier folder renamed to <name>.old-1: `yes`, or `changed`, where it
        was made by other code, of other images or under other settings of JAX.
      in_study: the config is one of many, whose common options need not do something in each.

    Raises:
      UserError: it cannot be run; an OriginError where what is there has another origin.
      NotFinite: the loss became infinite or not a number.
      Interrupted: a signal came.
    """
    if in_study:
        without_effect(config)
    else:
        _check_choices(config)
    runtime.require_32_bits()
    check_path(_folder(config).path)
    with signals.caught() as caught, contextlib.ExitStack() as held:
        with multihost.all_or_none("load the images"):
            dataset = data.load(config.data)
        multihost.assert_equal(
            dataset.info.fingerprint,
            f"the hosts of this run hold different images of {dataset.info.name} (here "
            f"{dataset.info.source}, fingerprint {dataset.info.fingerprint[:12]}); give all of "
            "them the same copy",
        )
        # What was loaded counts: where a download fails half-way, `auto` means the digits.
        config = _with_dataset(config, dataset.info.name)
        folder = _folder(config)
        task = Task(config, dataset.info, len(dataset.train.labels), _shards(config))
        with multihost.all_or_none("read the code that the run is made of"):
            origin = current_origin(config, dataset.info)
        multihost.assert_equal(
            identity(origin),
            "the hosts of this run have different code of its law, learning rule or base model, or "
            "different settings of JAX; give all of them the same",
        )
        _open(folder, config, origin, held, fresh)
        if not multihost.is_lead_host():
            console = Console(quiet=True)
        with Display(folder.path.name, task.total_steps, console) as display:
            if dataset.info.notice:
                display.say(dataset.info.notice, loud=True)
            if folder.read_origin() is None:
                display.say(
                    f"{folder.path} does not say by which code and under which settings it was "
                    "made; --fresh makes the run anew",
                    loud=True,
                )
            if folder.read_result() is not None:
                record = folder.read()
                display.say(f"{folder.path} is complete already")
            else:
                record = _Run(task, dataset, folder, display, caught).go()
        # A signal that came too late to stop anything ends what would have followed, like a study.
        received = multihost.allmax(caught.received or 0)
        if received:
            raise Interrupted(received, folder.path, "when the run had ended")
        return record


def _folder(config: Config) -> RunFolder:
    return RunFolder(Path(config.run.runs_dir) / run_name(config))


def _open(
    folder: RunFolder,
    config: Config,
    origin: Origin,
    held: contextlib.ExitStack,
    fresh: Literal["no", "changed", "yes"],
) -> None:
    """Start the folder, or go on in it, and hold it against other processes.

    The first host writes, and all see the same.
    """
    with multihost.all_or_none("open the run's folder"):
        if multihost.is_lead_host():
            if fresh == "yes" or (fresh == "changed" and _changed(folder, origin)):
                folder.set_aside()
            folder.check(config)
            folder.check_origin(origin)
            # What has ended is only read, also where nothing may be written.
            if folder.read_result() is None:
                held.enter_context(folder.locked())
                folder.open(config, origin)
    with multihost.all_or_none("see the run's folder"):
        if not folder.path.exists():
            raise multihost.HostError(
                f"{folder.path} is not on this host: give a --runs-dir on a disk that all share"
            )
        folder.check(config)
        folder.check_origin(origin)


def _changed(folder: RunFolder, origin: Origin) -> bool:
    earlier = folder.read_origin()
    return earlier is not None and bool(changes(earlier, origin))


def _shards(config: Config) -> int:
    """Devices of all hosts that the run spreads over. Raises ConfigError if there are too few."""
    local = config.run.devices or jax.local_device_count()
    if local > jax.local_device_count():
        raise ConfigError(
            f"devices is {local}, but this host has {jax.local_device_count()} "
            f"({jax.default_backend()})"
        )
    if multihost.is_multihost() and local != jax.local_device_count():
        raise ConfigError("a run on several hosts uses all their devices: leave --devices out")
    return local * jax.process_count()


class _Run:
    """One session of a run: from its start or its last checkpoint to its end."""

    def __init__(
        self,
        task: Task,
        dataset: data.Dataset,
        folder: RunFolder,
        display: Display,
        caught: signals.Signals,
    ) -> None:
        self.task, self.config = task, task.config
        self.dataset, self.folder, self.display, self.signals = dataset, folder, display, caught
        self.lines: list[Line] = []
        self.schedule = make_schedule(self.config.optim, task.total_steps)
        self.events = (
            tensorboard.open_writer(folder.path / "tensorboard")
            if self.config.run.tensorboard and multihost.is_lead_host()
            else None
        )

    @property
    def epochs(self) -> list[EpochRecord]:
        """Those that are in metrics.jsonl."""
        return [line.epoch for line in self.lines]

    def go(self) -> RunRecord:
        # What only the record at the end needs is looked up now, not after hours.
        self.device = DeviceFacts(**runtime.device_facts(self.task.shards))
        self.versions = runtime.versions()
        self.checkpoints = Checkpoints(self.folder.checkpoints, self._best_step)
        try:
            # Where it fails, closing the checkpoints would wait for hosts that wait for this one.
            with multihost.fail_together():
                self._start()
                evaluation = None
                for epoch in range(len(self.lines), self.config.optim.epochs):
                    evaluation = self._epoch(epoch)
                self._finish(evaluation or self._evaluate(self.test))
        finally:
            self.checkpoints.close()
            if self.events is not None:
                self.events.close()
        return self.folder.read()

    def _start(self) -> None:
        task = self.task
        self.state = place(task, init_state(task))
        self.step = 0
        lines = self.folder.read_lines()
        disagreed = []

        def accept(about: Mapping[str, Any]) -> str:
            problem = _fit(about, lines)
            disagreed.append(problem != "")
            return problem

        saved = self.checkpoints.restore(self.state, accept=accept)
        if saved is not None:
            self.state, self.step = saved, int(saved.step)
            self.display.say(
                f"resumed {self.folder.path} at step {self.step} of {task.total_steps}"
            )
        elif lines:
            self.display.say(
                f"there is no checkpoint in {self.folder.checkpoints}: the run begins anew",
                loud=True,
            )
        # The line of the epoch that the checkpoint ends came after it. It is kept, for its times,
        # unless other lines are known to be wrong: then that epoch is evaluated again.
        end = self.step - any(disagreed)
        self.lines = [line for line in lines if line.epoch.step <= end]
        if multihost.is_lead_host():
            self.folder.keep_lines(self.lines)
        self._poll()
        self.last_save = time.monotonic()
        self.parameters = sum(x.size for x in jax.tree.leaves(self.state.params))

        train = self.dataset.train
        self.train = _arrays(task, train)
        self.test = _arrays(task, self.dataset.test)
        held = self.dataset.validation
        self.validation = None if held is None else _arrays(task, held)
        runtime.trim_memory()
        # Uncompiled functions wait for each other; ahead of time all the compiling is one figure.
        began = time.monotonic()
        self.order = (
            jax.jit(epoch_order, static_argnums=2)
            .lower(self.state.seed, np.int32(0), task.train_size)
            .compile()
        )
        example = place(task, np.zeros(task.train_size, np.int32))
        per_call = self.config.run.steps_per_call or _steps_per_call(jax.default_backend())
        self.per_call = min(per_call, task.steps_per_epoch)
        # A CPU's steps are long: to queue them ahead gains nothing and delays an answer to Ctrl-C.
        self.synchronous = jax.default_backend() == "cpu"
        compiled = {}
        for repeat in {self.per_call, task.steps_per_epoch % self.per_call} - {0}:
            compiled[repeat] = compile_step(
                task, train_step, self.state, *self.train, example, repeat=repeat, donate=True
            )
            self._poll()
        self.train_calls = compiled
        self.eval_calls: dict[int, Any] = {}
        for split in (self.test, self.validation):
            if split is not None and len(split[1]) not in self.eval_calls:
                self.eval_calls[len(split[1])] = compile_step(
                    task, eval_step, self.state.variables, *split, np.int32(0)
                )
                self._poll()
        self.compile_seconds = time.monotonic() - began
        runtime.trim_memory()
        self.display.say(
            f"{task.info.title}: {task.train_size:,} training and {len(self.test[1]):,} test "
            f"images; {self.parameters:,} parameters; {task.shards} x "
            f"{jax.local_devices()[0].device_kind}; compiled in {self.compile_seconds:.1f} s"
        )

    def _epoch(self, epoch: int) -> Evaluation:
        """Train to the epoch's end, save, evaluate, and write its line."""
        task, began, first = self.task, time.monotonic(), self.step
        end = (epoch + 1) * task.steps_per_epoch
        if self.step % task.steps_per_epoch == 0 and self.step < end:
            self._reset_metrics()
        order = place(task, self.order(self.state.seed, np.int32(epoch)))
        shown, calls = began, 0
        while self.step < end:
            left = end - self.step
            repeat = self.per_call if left >= self.per_call else left
            if repeat not in self.train_calls:
                # Only after a resume within a call of several steps.
                self.train_calls[repeat] = compile_step(
                    task, train_step, self.state, *self.train, order, repeat=repeat, donate=True
                )
            self.state = self.train_calls[repeat](self.state, *self.train, order)
            self.step += repeat
            calls += 1
            if self.synchronous:
                jax.block_until_ready(self.state.step)
            if self._looks(shown, calls):
                metrics = self._check()
                now = shown = time.monotonic()
                self._show(metrics, epoch, first, now - began)
                self._poll()
                if multihost.allmax(now - self.last_save > 60 * self.config.run.checkpoint_minutes):
                    self._save()
        metrics = self._check()
        trained = time.monotonic() - began
        self._show(metrics, epoch, first, trained)
        self._save()
        test = self._evaluate(self.test)
        held = None if self.validation is None else self._evaluate(self.validation).metrics
        physics = diagnostics(self.state.params, test.diagnostics, task.rule)
        self._check_evaluation(test.metrics, held, physics)
        record = EpochRecord(
            epoch=epoch + 1,
            step=self.step,
            train_loss=metrics.loss,
            train_accuracy=metrics.accuracy,
            test_loss=test.metrics.loss,
            test_accuracy=test.metrics.accuracy,
            learning_rate=float(self.schedule(self.step - 1)),
            images_per_second=(self.step - first) * self.config.optim.batch_size / trained,
            seconds=time.monotonic() - began,
            validation_loss=None if held is None else held.loss,
            validation_accuracy=None if held is None else held.accuracy,
            physics=physics,
        )
        if multihost.is_lead_host():
            self.lines.append(self.folder.append_epoch(record))
        else:
            self.lines.append(Line("", record))
        if self.events is not None:
            tensorboard.write_epoch(self.events, record)
        self._report(record)
        return test

    def _looks(self, shown: float, calls: int) -> bool:
        """Whether to look up from training, for the bar, signals and the clock.

        Hosts have different clocks and signals, and count calls.
        """
        if multihost.is_multihost():
            return calls % _CALLS_BETWEEN_LOOKS == 0
        return time.monotonic() - shown > 1 or self.signals.received is not None

    def _show(self, metrics: Metrics, epoch: int, first: int, seconds: float) -> None:
        """Move the bar: `seconds` have gone into the epoch's steps since step `first`."""
        self.display.step(
            self.step,
            (self.step - first) * self.config.optim.batch_size / seconds,
            metrics.loss,
            metrics.accuracy,
            f"epoch {epoch + 1}/{self.config.optim.epochs}",
        )

    def _report(self, record: EpochRecord) -> None:
        left = (self.config.optim.epochs - record.epoch) * record.seconds
        self.display.say(
            f"epoch {record.epoch}/{self.config.optim.epochs}  "
            f"train {record.train_loss:.3f} {record.train_accuracy:.2%}  "
            f"test {record.test_loss:.3f} {record.test_accuracy:.2%}  "
            f"{record.images_per_second:,.0f} images/s  {format_seconds(left)} left"
        )

    def _reset_metrics(self) -> None:
        self.state = self.state.replace(metrics=place(self.task, Metrics.zero()))

    def _check(self) -> Metrics:
        """The epoch's training metrics so far. Raises NotFinite before anything is saved."""
        metrics = jax.tree.map(np.array, self.state.metrics)
        if metrics.bad_step != NEVER:
            raise self._not_finite("the loss", int(metrics.bad_step) + 1)
        return metrics

    def _check_evaluation(
        self, test: Metrics, held: Metrics | None, physics: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Raise NotFinite where an evaluation is: bad parameters need not show in any batch."""
        values = {"the test loss": test.loss}
        if held is not None:
            values["the validation loss"] = held.loss
        for layer, found in physics.items():
            values.update({f"{name} of {layer}": value for name, value in found.items()})
        for what, value in values.items():
            if not np.isfinite(value):
                raise self._not_finite(what, self.step)

    def _not_finite(self, what: str, step: int) -> NotFinite:
        return NotFinite(
            what,
            step,
            f"the last good checkpoint stays in {self.folder.checkpoints}; a lower --learning-rate "
            "may help",
        )

    def _poll(self) -> None:
        """Stop, with everything saved, where a signal has come."""
        received = multihost.allmax(self.signals.received or 0)
        if received:
            if self.step:
                self._save()
            self.checkpoints.close()
            raise Interrupted(received, self.folder.path, f"at step {self.step}")

    def _save(self) -> None:
        about = {"lines": len(self.lines), "records": digest(self.lines)}
        self.checkpoints.save(self.state, self.step, about)
        self.last_save = time.monotonic()

    def _evaluate(self, split: tuple[jax.Array, jax.Array]) -> Evaluation:
        call = self.eval_calls[len(split[1])]
        variables = self.state.variables
        total: Evaluation | None = None
        for start in evaluation_starts(self.task, len(split[1])):
            part = jax.tree.map(np.array, call(variables, *split, np.int32(start)))
            total = part if total is None else total.merge(part)
            self._poll()
        assert total is not None
        return total

    def _best_step(self) -> int | None:
        """The step of the epoch to keep: the test set has no say in it."""
        best = best_epoch(self.epochs)
        return None if best is None else best.step

    def _finish(self, evaluation: Evaluation) -> None:
        last, info, best = self.epochs[-1], self.task.info, best_epoch(self.epochs)
        assert best is not None
        self._save()
        sizes = {"train": self.task.train_size, "test": len(self.test[1])}
        if self.validation is not None:
            sizes["validation"] = len(self.validation[1])
        wall = sum(e.seconds for e in self.epochs) + self.compile_seconds
        law = law_name(self.config.model)
        result = Result(
            train_accuracy=last.train_accuracy,
            test_accuracy=last.test_accuracy,
            best_test_accuracy=max(e.test_accuracy for e in self.epochs),
            best_epoch=best.epoch,
            selected_by=selection_criterion(self.epochs),
            epochs=len(self.epochs),
            steps=self.step,
            parameters=self.parameters,
            wall_seconds=wall,
            compile_seconds=self.compile_seconds,
            images_per_second=median_images_per_second(self.epochs),
            peak_memory_mib=runtime.peak_memory_mib(),
            device=self.device,
            versions=self.versions,
            data=DataFacts(
                name=info.name,
                title=info.title,
                version=info.version,
                source=info.source,
                fingerprint=info.fingerprint,
                examples=sizes,
                class_names=tuple(info.class_names),
            ),
            confusion=evaluation.confusion.tolist(),
            law_parameters=law_parameters(self.state.params, get_law(law).init(1)),
        )
        # The result stands for what is on the disk.
        self.checkpoints.wait()
        if multihost.is_lead_host():
            self.folder.write_result(result)


def _fit(about: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """Why a run cannot go on from a checkpoint with these lines of metrics.jsonl; "": it can."""
    wanted = int(about["lines"])
    if len(lines) < wanted:
        return f"metrics.jsonl has {len(lines)} sound lines, and {wanted} belong to it"
    if digest(lines[:wanted]) != about["records"]:
        return f"the first {wanted} lines of metrics.jsonl are not those it was saved with"
    return ""


def _arrays(task: Task, split: data.Split) -> tuple[jax.Array, jax.Array]:
    images, labels = place(task, (split.images, split.labels))
    return jnp.asarray(images), jnp.asarray(labels)


def _steps_per_call(platform: str) -> int:
    """On XLA:CPU a convolution in a loop body is hundreds of times slower than outside one."""
    return 1 if platform == "cpu" else 16
