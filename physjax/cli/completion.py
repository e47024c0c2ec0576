"""Completion of commands, options and choices by the Tab key, for bash, zsh and fish."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Annotated, Any, Union, cast

import tyro

from physjax.cli import common, options
from physjax.errors import UserError

SHELLS = ("bash", "zsh", "fish")


def print_completion(shell: str, commands: Mapping[str, str]) -> None:
    """Print the script that a shell reads.

    Args:
      shell: one of `SHELLS`.
      commands: what they do, by name; each is a file of this package.

    Raises:
      UserError: another shell.
    """
    if shell not in SHELLS:
        raise UserError(f"there is no completion for {shell!r}; choose {', '.join(SHELLS)}")
    kinds: list[Any] = []
    for name, text in commands.items():
        module = importlib.import_module(f"physjax.cli.{name}")
        kind = getattr(module, "Command", common.Command)
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=text)])
    tyro.cli(
        cast(Any, Union[tuple(kinds)]),  # noqa: UP007
        prog="physjax",
        args=["--tyro-print-completion", shell],
        registry=options.registry(offered=True),
        config=(tyro.conf.OmitArgPrefixes,),
    )
