"""The options of a training run's command line, made of the fields of the config.

An option is a field: `--epochs` is `optim.epochs`, which `--optim.epochs 3` and
`--set optim.epochs=3` set too. So are the settings of a law, rule or optimiser: `--law.length 4`.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro import constructors

from physjax import schema
from physjax.config import RECIPES, SETTINGS, Config, ConfigError, LawConfig, OptimizerConfig
from physjax.config.names import check_name, check_text
from physjax.data import DATASETS
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.optimizers import OPTIMIZERS
from physjax.rules import RULES

T = TypeVar("T")

PARTS = {
    name: kind
    for name, kind in typing.get_type_hints(Config).items()
    if dataclasses.is_dataclass(kind)
}
"""The parts of a config, by name."""
_DOTTED = re.compile(rf"--({'|'.join(PARTS)})\.([A-Za-z_][\w-]*)(=.*)?", re.DOTALL)

_FLAGS = {"model.name": "model", "data.mode": "data-mode", "run.plugins": "plugin"}
_CHOICES = {
    "model.name": tuple(MODELS),
    "model.law": ("default", *LAWS),
    "rule.update_rule": tuple(RULES),
    "optim.optimizer": tuple(OPTIMIZERS),
    "data.dataset": ("auto", *DATASETS),
}


_TITLES = {"augment": "augmentation", "optim": "optimiser", "rule": "learning rule"}
"""Of the groups of options, where they are not called as the part of the config is."""


def flag(key: str) -> str:
    """The option for the field of that dotted name, without its dashes."""
    return _FLAGS.get(key, key.partition(".")[2]).replace("_", "-")


Duration = Annotated[str | None, tyro.conf.arg(metavar="SECONDS|90m|2:30:00")]
"""An option that `physjax.train.time_limit.parse_duration` reads."""


def choices(names: Sequence[str]) -> Any:
    """How help shows an option that takes one of `names`, or that of a plug-in."""
    return tyro.conf.arg(metavar=f"{{{','.join(names)}}}")


def parse(
    kind: type[T],
    argv: Sequence[str] | None = None,
    default: T | None = None,
    description: str | None = None,
    *,
    compact: bool = False,
) -> T:
    """The `kind`, a dataclass, that `argv` (default: sys.argv[1:]) describes.

    `compact`: `--help` lists names, choices and defaults, and `--help-verbose` what they mean.

    A Config in it is checked as it is made. What tyro refuses ends the process with a message and
    exit code 2, as does `--help` with 0.
    Raises ConfigError for an option that is given twice, and for text that is not UTF-8.
    """
    words = _dotted_as_set(sys.argv[1:] if argv is None else argv)
    _check(words)
    given: dict[str, Any] = {} if default is None else {"default": default}
    parsed = tyro.cli(
        kind,
        args=words,
        description=None if description is None else _wrapped(description),
        registry=registry(),
        compact_help=compact,
        config=(tyro.conf.OmitArgPrefixes,),
        **given,
    )
    changes = {
        f.name: getattr(parsed, f.name).made()
        for f in dataclasses.fields(parsed)
        if isinstance(getattr(parsed, f.name), _Later)
    }
    return dataclasses.replace(parsed, **changes) if changes else parsed


def registry(*, offered: bool = False) -> constructors.ConstructorRegistry:
    """How tyro makes the parts of a config of options.

    `offered`: an option that takes the name of a law, base, ... has those that there are as
    choices, which would refuse a plug-in's.
    """
    found = constructors.ConstructorRegistry()
    found.struct_rule(partial(_unchecked, offered=offered))
    return found


def _wrapped(text: str) -> str:
    """`text` no wider than the terminal; lines that begin with a space, like examples, are kept."""
    width, text = shutil.get_terminal_size().columns, text.replace("\n\n ", "\n ")
    blocks = []
    for line in re.sub(r"\n(?=\w)(?<!\n\n)", " ", text).split("\n"):
        # tyro joins lines that begin with a letter.
        wrap = not line.startswith(" ")
        blocks.append(textwrap.fill(line, width, subsequent_indent=" ") if wrap else line)
    return "\n".join(blocks)


def _dotted_as_set(argv: Sequence[str]) -> list[str]:
    """`argv` with `--law.length 4` written as `--set law.length=4`."""
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        match = _DOTTED.fullmatch(word)
        if match is None:
            words.append(word)
            continue
        part, name, value = match.groups()
        value = f"={next(rest, '')}" if value is None else value
        words += ["--set", f"{part}.{name.replace('-', '_')}{value}"]
    return words


def folder_name(name: str, option: str) -> str:
    """`name`, if it can be a folder's. Raises ConfigError, naming the option."""
    try:
        return check_name(name)
    except ValueError as error:
        raise ConfigError(f"{option} is {schema.show(name)}; {error}") from None


@dataclasses.dataclass(frozen=True)
class _Later:
    """A part of a config, or a whole one, before its values are checked.

    tyro shows an error of a constructor in its own words and frame; this lets the config say it.
    """

    kind: type
    values: dict[str, Any]

    def made(self) -> Any:
        parts = {k: v.made() if isinstance(v, _Later) else v for k, v in self.values.items()}
        return self.kind(**parts)


def _unchecked(
    info: constructors.StructTypeInfo, offered: bool
) -> constructors.StructConstructorSpec | None:
    if info.type is not Config and info.type not in PARTS.values():
        return None
    kind = typing.cast(type, info.type)
    names = {part: name for name, part in PARTS.items()}
    fields = []
    kept = {}
    for f in dataclasses.fields(kind):
        key = f"{names.get(kind, '')}.{f.name}"
        hint: Any = typing.get_type_hints(kind)[f.name]
        if f.name == schema.OWN or hint in (LawConfig, OptimizerConfig):
            # Settings of a law, rule or optimiser, which are given by --set or their dotted names.
            kept[f.name] = getattr(info.default, f.name)
            continue
        if offered and (key in _CHOICES or f.name == "recipe"):
            hint = Literal[_CHOICES.get(key, tuple(RECIPES))]
        if key in SETTINGS:
            shown = f"{{{','.join(_CHOICES[key])}}}" if key in _CHOICES else None
            hint = Annotated[hint, tyro.conf.arg(name=flag(key), metavar=shown)]
            if key == "run.plugins":
                hint = Annotated[hint, tyro.conf.UseAppendAction]
            doc = SETTINGS[key].doc
        else:
            hint = Annotated[hint, choices(tuple(RECIPES))] if f.name == "recipe" else hint
            if f.name in _TITLES:
                hint = Annotated[hint, tyro.conf.arg(name=_TITLES[f.name])]
            doc = "What every other option's default comes from." if f.name == "recipe" else ""
        fields.append(
            constructors.StructFieldSpec(
                name=f.name, type=hint, default=getattr(info.default, f.name), helptext=doc
            )
        )
    return constructors.StructConstructorSpec(
        instantiate=lambda **values: _Later(kind, kept | values), fields=tuple(fields)
    )


def _check(argv: Sequence[str]) -> None:
    seen = set()
    for word in argv:
        try:
            check_text(word)
        except ValueError as error:
            raise ConfigError(f"an option is {schema.show(word)}; {error}") from None
        name = word.partition("=")[0].replace("_", "-")
        if not name.startswith("--") or name in ("--set", "--plugin"):
            continue
        name = f"--{name[2:].removeprefix('no-')}"
        if name in seen:
            raise ConfigError(f"{name} is given twice; leave out one of them")
        seen.add(name)
