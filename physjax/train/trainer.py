"""One session of a run: from its start, or its last checkpoint, to its end.

It may be ended at any moment: the next session goes on from the last checkpoint and ends bit for
bit where this one would have.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from functools import partial

import jax
import numpy as np

from physjax import data, runtime
from physjax.errors import TIME_LIMIT, Interrupted
from physjax.records import DeviceFacts, EpochRecord, RunFolder, RunRecord
from physjax.train import multihost
from physjax.train.callbacks import Callback, Callbacks
from physjax.train.compiled import CompiledSteps
from physjax.train.journal import Journal
from physjax.train.ledger import Ledger, Stopwatch
from physjax.train.predict import Evaluation
from physjax.train.result import diverged, make_epoch, make_result, not_finite
from physjax.train.setup import TrainSetup
from physjax.train.sharding import place
from physjax.train.signals import Signals
from physjax.train.state import NEVER, Metrics, start_state
from physjax.train.time_limit import TimeLimit
from physjax.train.weights.given import GivenWeights

# Of several hosts. With steps of a tenth of a second, and 16 in a call, every 16 s.
_CALLS_BETWEEN_SYNCS = 10


class Trainer:
    """Trains a network, evaluates it after its epochs, and keeps its folder.

    Args:
      setup: what the steps need.
      dataset: its images.
      folder: of the run, open and locked by the caller.
      callbacks: who looks on.
      signals: those that were caught so far and will be.
      time_limit: at whose end everything must be saved; None: there is none.
      spent: what the session's time was spent on before this.
      given: the weights that it starts from; None: random ones.
      log: takes lines of text, with `loud=True` those that must not be missed.

    Attributes:
      state: parameters, optimiser and the epoch's metrics, on the devices; the next step takes its
        buffers away, so what is kept must be copied.
      step: steps done, over all sessions.
      epoch: the one at hand, from 0.
      parameters: how many numbers the network has.
      compile_seconds: that compiling took.
      step_seconds: that the calls of the compiled train steps took, in this session; where they are
        not waited for (other platforms than a CPU), what it took to send them off.
      images_per_second: of training, in the epoch so far.
    """

    def __init__(
        self,
        setup: TrainSetup,
        dataset: data.Dataset,
        folder: RunFolder,
        callbacks: Iterable[Callback] = (),
        *,
        signals: Signals | None = None,
        time_limit: TimeLimit | None = None,
        spent: Stopwatch | None = None,
        given: GivenWeights | None = None,
        log: Callable[..., None] = lambda text, loud=False: None,
    ) -> None:
        self.setup, self.config, self.dataset, self.folder = setup, setup.config, dataset, folder
        self.callbacks, self.signals, self.log = Callbacks(callbacks), signals or Signals(), log
        self.time_limit, self._spent = time_limit or TimeLimit(), spent or Stopwatch()
        self._given = given
        # What only the record at the end needs is looked up now, not after hours.
        self.device = DeviceFacts(**runtime.device_facts(setup.shards))
        self.versions = runtime.versions()
        self.step, self.epoch, self.parameters = 0, 0, 0
        self.compile_seconds, self.step_seconds, self.images_per_second = 0.0, 0.0, 0.0
        # A CPU's steps are long: to queue them ahead gains nothing and delays an answer to Ctrl-C.
        self._synchronous = jax.default_backend() == "cpu"

    @property
    def epochs(self) -> list[EpochRecord]:
        """Of those that have ended."""
        return self.journal.epochs

    def run(self) -> RunRecord:
        """Train to the end and write the result.

        Raises:
          NotFinite: a loss became infinite or not a number.
          Interrupted: a signal or the time limit came; everything is saved.
          UserError: the time limit came before anything could be saved.
        """
        with contextlib.ExitStack() as stack:
            self._held = stack
            stack.callback(self.callbacks.close)
            self.journal = Journal(self.folder, self.log, self.config.run.checkpoint_minutes)
            stack.callback(self.journal.close)
            self.ledger = Ledger(self.folder, self._spent)
            # Where it fails, closing the checkpoints would wait for hosts that wait for this one.
            with multihost.fail_together():
                self.restore_or_init()
                self.compile()
                self.callbacks.on_start(self)
                evaluation = None
                for epoch in range(len(self.epochs), self.config.optim.epochs):
                    self.epoch = epoch
                    evaluation = self.run_epoch()
                self.write_result(evaluation or self.evaluate("test"))
        return self.folder.read()

    def restore_or_init(self) -> None:
        """Take the state of the last whole checkpoint, or the one before the first step."""
        self.callbacks.on_phase(self, "restoring")
        self.state = start_state(self.setup, self.dataset.train.images)
        with self._spent.on("checkpoints"):
            saved = self.journal.restore(self.state)
        if saved is not None:
            self.state, self.step = saved, int(saved.step)
            self.log(f"resumed {self.folder.path} at step {self.step} of {self.setup.total_steps}")
        elif self._given is not None:
            self.state = start_state(self.setup, self.dataset.train.images, self._given.read())
            self.log(str(self._given))
        self.ledger.begin(self.step)
        self.parameters = sum(x.size for x in jax.tree.leaves(self.state.params))
        self.stop_if_signalled()

    def compile(self) -> None:
        """Bring the images to the devices, and compile all that will be called."""
        self.callbacks.on_phase(self, "compiling")
        with self._spent.on("data"):
            self._steps = CompiledSteps(self.setup, self.dataset)
            self._held.callback(self._steps.close)
        runtime.trim_memory()
        began = time.monotonic()
        with self._spent.on("compile"):
            for _ in self._steps.compile(self.state):
                self.stop_if_signalled()
        self.compile_seconds = time.monotonic() - began
        runtime.trim_memory()

    def run_epoch(self) -> Evaluation | None:
        """Train to the epoch's end, save, evaluate, and write its line.

        Returns:
          What the test images gave; None where `run.evaluate_every` leaves this epoch out.
        """
        began = time.monotonic()
        with self._spent.on("steps"):
            metrics = self.train_epoch()
        self.save()
        config, physics = self.config, {}
        test = held = None
        every = config.run.evaluate_every
        if (self.epoch + 1) % every == 0 or self.epoch + 1 == config.optim.epochs:
            test = self.evaluate("test")
            physics = self.callbacks.layer_metrics(self, test)
        if "validation" in self._steps.splits:
            held = self.evaluate("validation")
        losses = {"test": test, "validation": held}
        what = not_finite({k: e.metrics.loss for k, e in losses.items() if e is not None}, physics)
        if what is not None:
            raise diverged(what, self.step, self.folder)
        record = make_epoch(self, metrics, test, held, physics, time.monotonic() - began)
        self.journal.append(record)
        self.ledger.note(self.step)
        self.callbacks.on_epoch_end(self, record)
        return test

    def train_epoch(self) -> Metrics:
        """Do the steps that are left of the epoch; its training metrics."""
        self.callbacks.on_phase(self, "training")
        self.time_limit.begin()
        setup, began, first = self.setup, time.monotonic(), self.step
        end = (self.epoch + 1) * setup.steps_per_epoch
        if self.step % setup.steps_per_epoch == 0 and self.step < end:
            self.state = self.state.replace(metrics=place(setup, Metrics.zero()))
        order = self._steps.shuffle(self.state.seed, self.epoch)
        synced, calls = began, 0
        while self.step < end:
            repeat = self._steps.in_call(self.step)
            with self._spent.on("data"):
                batches = self._steps.next_batches(self.step, order, repeat)
            sent = time.perf_counter()
            self.state = self._steps.train(self.state, order, batches, repeat)
            if self._synchronous:
                jax.block_until_ready(self.state.step)
            self.step_seconds += time.perf_counter() - sent
            self.step += repeat
            calls += 1
            if self.should_sync(synced, calls):
                synced = self.update_progress(self.fetch_metrics(), began, first)
                self.stop_if_signalled()
                if self.journal.should_save(self.time_limit.unmeasured):
                    self.save()
        metrics = self.fetch_metrics()
        self.update_progress(metrics, began, first)
        return metrics

    def should_sync(self, synced: float, calls: int) -> bool:
        """Whether to look up from training, for callbacks, signals and the clock.

        Hosts have different clocks and signals, and count calls.
        """
        if multihost.is_multihost():
            return calls % (_CALLS_BETWEEN_SYNCS if self.callbacks.interval else 1) == 0
        waited = time.monotonic() - synced
        return waited >= self.callbacks.interval or self.signals.received is not None

    def update_progress(self, metrics: Metrics, began: float, first: int) -> float:
        """Tell the callbacks how far the epoch has come; what time it is.

        Args:
          metrics: of the epoch so far.
          began: when this session began the epoch's steps.
          first: the step that it began them at.
        """
        now = time.monotonic()
        done = (self.step - first) * self.config.optim.batch_size
        self.images_per_second = done / max(now - began, 1e-9)
        self.callbacks.on_step(self, metrics)
        self.time_limit.look()
        self.ledger.note_now_and_then(self.step)
        return now

    def fetch_metrics(self) -> Metrics:
        """The epoch's training metrics so far. Raises NotFinite before anything is saved."""
        metrics = jax.tree.map(np.array, self.state.metrics)
        if metrics.first_nonfinite_step != NEVER:
            raise diverged("the loss", int(metrics.first_nonfinite_step) + 1, self.folder)
        return metrics

    def evaluate(self, name: str) -> Evaluation:
        """Evaluate the network on the images of a split, `test` or `validation`."""
        self.callbacks.on_phase(self, "evaluating")
        with self._spent.on("evaluation"):
            return self._steps.evaluate(self.state.variables, name, self.stop_if_signalled)

    def stop_if_signalled(self) -> None:
        """Stop, with everything saved, where a signal has come or the time limit is near."""
        with self._spent.on("waiting"):
            received = multihost.allmax(self.signals.received or self.time_limit.cause())
        if received:
            if self.step:
                self.save()
            with self._spent.on("checkpoints"):
                self.journal.close()
            self.ledger.note(self.step)
            if received == TIME_LIMIT:
                self.time_limit.check_progress()
            raise Interrupted(received, self.folder.path, f"at step {self.step}")

    def save(self) -> None:
        """Begin to write a checkpoint of the state as it is now, unless its step has one."""
        self.callbacks.on_phase(self, "saving")
        with self._spent.on("checkpoints"):
            write = partial(self.journal.save, self.state, self.step)
            self.time_limit.save(write, self.journal.wait)

    def write_result(self, evaluation: Evaluation) -> None:
        """Save the last step and write what the run came to."""
        self.save()
        # The result stands for what is on the disk.
        with self._spent.on("checkpoints"):
            self.journal.wait()
        result = make_result(self, evaluation)
        self.ledger.note(self.step)
        if multihost.is_lead_host():
            self.folder.write_result(result)
        self.callbacks.on_end(self, result)
