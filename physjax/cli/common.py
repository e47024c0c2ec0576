"""The command line of a training run: a recipe, and any field of it overridden."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from physjax.cli import options
from physjax.config import (
    Config,
    ConfigError,
    Keyword,
    get_setting,
    parse_settings,
    recipe,
    to_dict,
)
from physjax.errors import Incomplete, Interrupted, NotFinite, UserError
from physjax.forces import LAWS
from physjax.optimizers import OPTIMIZERS
from physjax.rules import RULES
from physjax.train import output, signals

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option without a value and without a `--no-` twin."""


@dataclass(frozen=True)
class Command:
    """What `physjax train` is asked to do."""

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    set: Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction] = ()
    """Fields of the config by their dotted names: --set optim.epochs=3 model.width=0.5, or as
    options: --optim.epochs 3. Settings of a law or rule are given so: --law.length 4; with
    --law NAME or --update-rule NAME, --help lists them"""
    dry_run: Flag = False
    """Print the resolved config as JSON and stop."""
    summary: Flag = False
    """Print the table of layers, parameters and FLOPs and stop."""
    fresh: Flag = False
    """Start anew. The folder of the earlier run is renamed to <name>.old-1, or the next number."""
    distributed: Flag = False
    """Train over several hosts: the same command on each of them (docs/hosts.md)."""
    peer_timeout: float = 120.0
    """With --distributed: seconds after which a host that gives no sign of life counts as lost."""
    time_limit: options.Duration = None
    """Save and stop in time to have ended so long after the start, with exit code 143: 5400
    (seconds), 90m, 2:30:00."""
    profile: Flag = False
    """Trace a few steps, for Perfetto and TensorBoard, in the run's folder profile/."""
    figure_format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures: one file each for every format named."""


def parse(argv: Sequence[str] | None = None, description: str | None = None) -> Command:
    """The command that `argv` (default: sys.argv[1:]) describes, its settings in its config.

    The recipe is read first, since every other option's default is the recipe's. An option that
    does not exist ends the process with a message and exit code 2, as does `--help` with 0.
    Raises ConfigError for a value that cannot be, and a field that is set twice.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", default="fast")
    try:
        name = first.parse_known_args(arguments)[0].recipe
    except argparse.ArgumentError:
        name = "fast"
    start = recipe(name)
    if {"--help", "-h"} & {*arguments}:
        description = "\n\n".join([description or "", *_settings_help(arguments)])
    command = options.parse(Command, arguments, Command(config=start), description, compact=True)
    settings = parse_settings(text for group in command.set for text in group)
    for key in settings:
        setting = get_setting(key)
        if setting.get(command.config) != setting.get(start):
            raise ConfigError(f"{key} is set twice, by --set and by --{options.flag(key)}")
    return dataclasses.replace(command, config=command.config.set_all(settings), set=())


def _settings_help(arguments: Sequence[str]) -> list[str]:
    """A paragraph on the settings of the law, rule and optimiser that `arguments` name."""
    asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    asked.add_argument("--law")
    asked.add_argument("--update-rule", "--update_rule")
    asked.add_argument("--optimizer")
    asked.add_argument("--plugin", action="append", default=[])
    try:
        names = asked.parse_known_args(arguments)[0]
    except argparse.ArgumentError:
        return []
    if names.plugin:
        from physjax.train.plugins import load_plugins

        load_plugins(names.plugin)
    choices = [
        (part, registry.get_named(name))
        for part, name, registry in (
            ("law", names.law, LAWS),
            ("rule", names.update_rule, RULES),
            ("optimizer", names.optimizer, OPTIMIZERS),
        )
        if name is not None
    ]
    return [
        "\n".join([f"Settings of {part} {chosen.name}:", *_listed(part, chosen.settings)])
        for part, chosen in choices
    ]


def _listed(part: str, settings: Mapping[str, Keyword]) -> list[str]:
    return [f"  --{part}.{keyword}" for keyword in settings.values()] or ["  none"]


def dump(config: Config) -> str:
    """`config` as indented JSON."""
    return json.dumps(to_dict(config), indent=2)


def exit_code(job: Callable[[], None]) -> int:
    """Do `job`, and say on stderr what a user should know where it cannot be done.

    0: done; 1: the training diverged, or a part could not be done; 2: it cannot be done as asked;
    143: a batch system's signal or the time limit came; 128 + n: ended by signal n.
    """
    # No command shows a window. An inherited backend, of a notebook, may not even be installed.
    os.environ["MPLBACKEND"] = "agg"
    with output.settled(), signals.interrupts_kept():
        try:
            job()
        except Incomplete as error:
            print(error, file=sys.stderr)
            return 1
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except NotFinite as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Interrupted as stop:
            print(stop, file=sys.stderr)
            return stop.exit_code
        except KeyboardInterrupt:
            print("stopped by SIGINT", file=sys.stderr)
            return 128 + signal.SIGINT
        except OSError as error:
            # A full disk, a folder without permission: of the machine, not of the program.
            if error.errno is None or error.strerror is None:
                raise
            named = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            print(f"error: {named}{error.strerror}", file=sys.stderr)
            return 2
    return 0
