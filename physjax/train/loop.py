"""fit(config): train a model from its config to its record, or go on where a run stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Literal

import jax
from rich.console import Console

from physjax import data, runtime
from physjax.config import Config, ConfigError
from physjax.errors import Interrupted
from physjax.records import RunFolder, RunRecord
from physjax.records.provenance import Origin, changes
from physjax.train import multihost, signals
from physjax.train.callbacks import Callback, ShowProgress
from physjax.train.checkpoint import has_checkpoint
from physjax.train.checkpoint_errors import check_path
from physjax.train.choices import resolve_choices
from physjax.train.diagnostics import LayerDiagnostics
from physjax.train.gradients import GradientComparison
from physjax.train.ledger import Stopwatch
from physjax.train.origin import current_origin, identity
from physjax.train.progress import Display
from physjax.train.setup import TrainSetup
from physjax.train.time_limit import TimeLimit
from physjax.train.trackers import TRACKERS
from physjax.train.trainer import Trainer
from physjax.train.weights.given import GivenWeights, find_weights

Fresh = Literal["no", "changed", "yes"]


def resolve(config: Config) -> Config:
    """`config` checked and complete: `auto` replaced by the data set that it stands for here."""
    config = resolve_choices(config)
    return _with_dataset(config, data.resolve(config.data))


def _with_dataset(config: Config, name: str) -> Config:
    return config.set("data.dataset", name)


def fit(
    config: Config,
    *,
    dataset: data.Dataset | None = None,
    callbacks: Iterable[Callback] = (),
    console: Console | None = None,
    fresh: Fresh = "no",
    in_study: bool = False,
    time_limit: TimeLimit | None = None,
) -> RunRecord:
    """Run `config` to its end, from its last checkpoint where there is one.

    Args:
      config: of the run.
      dataset: whole, as `physjax.data.from_arrays` makes it of one's own images; None: the one that
        `config.data` names.
      callbacks: who looks on while it is trained, beside progress, diagnostics and the tracker.
      console: where its progress is shown.
      fresh: start anew, the earlier folder renamed to <name>.old-1: `yes`, or `changed`, where it
        was made by other code, of other images or under other settings of JAX.
      in_study: the config is one of many, whose common options need not do something in each.
      time_limit: at whose end all must be saved and this process have ended.

    Raises:
      UserError: it cannot be run; an OriginError where what is there has another origin.
      NotFinite: the loss became infinite or not a number.
      Interrupted: a signal or the time limit came.
    """
    config = resolve_choices(config, in_study=in_study)
    spent = Stopwatch()
    runtime.require_32_bits()
    check_path(RunFolder.of(config).path)
    with signals.caught() as caught, contextlib.ExitStack() as held:
        with multihost.all_or_none("load the images"), spent.on("data"):
            loaded = (
                data.load(config.data) if dataset is None else data.select(dataset, config.data)
            )
        info = loaded.info
        multihost.assert_equal(
            info.fingerprint,
            f"the hosts of this run hold different images of {info.name} (here {info.source}, "
            f"fingerprint {info.fingerprint[:12]}); give all of them the same copy",
        )
        # What was loaded counts: where a download fails half-way, `auto` means the digits.
        config = _with_dataset(config, info.name)
        folder = RunFolder.of(config)
        setup = TrainSetup(config, info, len(loaded.train), _shards(config))
        with multihost.all_or_none("read the weights to start from"):
            found = find_weights(config)
        multihost.assert_equal(
            "" if found is None else found.sha256,
            f"the hosts of this run have different weights in {config.model.start_from}; give all "
            "of them the same file",
        )
        given = GivenWeights(setup, found)
        with multihost.all_or_none("read the code that the run is made of"):
            origin = current_origin(config, info, found)
        multihost.assert_equal(
            identity(origin),
            "the hosts of this run have different code of its law, learning rule or base model, or "
            "different settings of JAX; give all of them the same",
        )
        with multihost.all_or_none("start from the weights"):
            if _begins(folder, origin, fresh):
                # What cannot be started from is said before anything is written.
                given.read()
        _open(folder, config, origin, held, fresh)
        if not multihost.is_lead_host():
            console = Console(quiet=True)
        with Display(
            folder.path.name,
            setup.total_steps,
            console,
            pause_every=setup.steps_per_epoch * config.run.evaluate_every,
        ) as display:
            if info.notice:
                display.say(info.notice, loud=True)
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
                record = Trainer(
                    setup,
                    loaded,
                    folder,
                    [*_own_callbacks(config, folder, display), *callbacks],
                    signals=caught,
                    time_limit=time_limit,
                    spent=spent,
                    given=given if config.model.start_from else None,
                    log=display.say,
                ).run()
        # A signal that came too late to stop anything ends what would have followed, like a study.
        received = multihost.allmax(caught.received or 0)
        if received:
            raise Interrupted(received, folder.path, "when the run had ended")
        return record


def _own_callbacks(config: Config, folder: RunFolder, display: Display) -> list[Callback]:
    """Those of every run."""
    own: list[Callback] = [LayerDiagnostics(), ShowProgress(display)]
    if config.run.compare_gradients:
        own.append(GradientComparison())
    if config.run.tracker != "none" and multihost.is_lead_host():
        own.append(TRACKERS[config.run.tracker](folder.path, config))
    return own


def _open(
    folder: RunFolder,
    config: Config,
    origin: Origin,
    held: contextlib.ExitStack,
    fresh: Fresh,
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


def _begins(folder: RunFolder, origin: Origin, fresh: Fresh) -> bool:
    """Whether the run starts from the beginning: there is neither a result nor a checkpoint."""
    if fresh == "yes" or (fresh == "changed" and _changed(folder, origin)):
        return True
    return not has_checkpoint(folder.checkpoints) and folder.read_result() is None


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
