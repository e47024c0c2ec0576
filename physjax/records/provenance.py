"""Where a record comes from: code, images and settings that decide it, and who made it.

What decides a result (:attr:`Origin.code`, `settings`, `images`, `weights`) is part of its
identity, and a result is never returned, gone on with or compared where it differs. What only tells
(:attr:`Origin.sessions`: commit, versions, host, command) may differ. Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path, PurePath
from typing import Annotated, Any, Protocol

from pydantic import Field

from physjax import schema
from physjax.errors import UserError


class OriginError(UserError):
    """Something made by other code, of other images or under other settings; both are named."""


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""In hexadecimal digits."""


@schema.strict(OriginError)
class Code:
    """What a piece of code was."""

    module: str
    """Where it is defined; several, with commas, where its functions come from several modules."""
    sha256: Sha256


@schema.strict(OriginError)
class Images:
    """Which images a run saw."""

    name: str
    fingerprint: Sha256
    source: str


@schema.strict(OriginError)
class Weights:
    """Which weights a run started from."""

    source: str
    """The file or run, as the config names it."""
    sha256: Sha256
    """Of the file; of a run the digest of its last checkpoint's arrays."""


@schema.strict(OriginError)
class Session:
    """One process that worked on a run."""

    started: str
    """Local time with its offset from UTC."""
    host: str
    pid: int
    command: str
    commit: str | None
    """Of the git checkout that physjax lies in; None where it lies in none."""
    dirty: bool | None
    """Whether the package differed from that commit."""
    versions: dict[str, str]
    xla_flags: str


@schema.strict(OriginError)
class Origin:
    """Where a run comes from."""

    code: dict[str, Code]
    """By what it is: `law ring`, `rule backprop`, `base cnn`."""
    settings: dict[str, str | float | int | bool | None]
    """Those of JAX that change random numbers, precision or the order of arithmetic."""
    images: Images | None
    """None where they were not looked at."""
    sessions: Annotated[tuple[Session, ...], Field(min_length=1)]
    """In order; the first one began the run."""
    plugins: dict[str, Sha256] = field(default_factory=dict)
    """Of the file of each plug-in. What counts is the hash of the code that the run consists of."""
    weights: Weights | None = None
    """None where the run started from random ones, or they were not looked at."""


def to_dict(origin: Origin) -> dict[str, Any]:
    """`origin` as nested plain values, ready for JSON."""
    return dataclasses.asdict(origin)


def from_dict(values: Any, where: str = "origin") -> Origin:
    """The Origin that :func:`to_dict` wrote. Raises OriginError, naming `where`, if it is none."""
    return schema.read(Origin, values, where, OriginError)


def changes(earlier: Origin, now: Origin, parts: Iterable[str] = ()) -> list[str]:
    """What decides a result and differs, in words that name both sides; empty: nothing.

    Args:
      earlier: of what is there.
      now: of what is asked for. Images and weights are compared where both sides know them.
      parts: compare only code that begins with one of these words, e.g. "law"; empty: all.
    """
    lines = []
    parts = tuple(parts)
    for name in sorted({*earlier.code, *now.code}):
        was, is_now = earlier.code.get(name), now.code.get(name)
        if (not parts or name.split()[0] in parts) and _hash(was) != _hash(is_now):
            lines.append(
                f"the code of {name} ({_module(is_now or was)}) was {_hash(was)} "
                f"(commit {_commit(earlier)}) "
                f"and is {_hash(is_now)} (commit {_commit(now)})"
            )
    for name in sorted({*earlier.settings} & {*now.settings}):
        # A version of JAX that has a setting more says nothing about the one that had it not.
        if earlier.settings[name] != now.settings[name]:
            lines.append(f"{name} was {earlier.settings[name]} and is {now.settings[name]}")
    a, b = earlier.images, now.images
    if a is not None and b is not None and a.fingerprint != b.fingerprint:
        lines.append(
            f"the images of {b.name} were {a.fingerprint[:12]} ({a.source}) and are "
            f"{b.fingerprint[:12]} ({b.source})"
        )
    before, after = earlier.weights, now.weights
    if before is not None and after is not None and before.sha256 != after.sha256:
        lines.append(
            f"the weights to start from were {before.sha256[:12]} ({before.source}) and are "
            f"{after.sha256[:12]} ({after.source})"
        )
    return lines


def refuse(earlier: Origin, now: Origin, what: str) -> None:
    """Raise OriginError where `what` has another origin than what is asked for now."""
    differing = changes(earlier, now)
    if differing:
        raise OriginError(
            f"{what} cannot be gone on with or returned: {'; '.join(differing)}; "
            f"{way_out(differing)}"
        )


def way_out(changed: Iterable[str]) -> str:
    """What to do about :func:`changes`, the cheapest first."""
    advice = []
    for line in changed:
        if line.startswith("jax_"):
            name, _, value, *_ = line.split()
            unset = f"unset {name.upper()}" if value == "None" else f"{name.upper()}={value}"
            advice.append(f"set {unset}" if "=" in unset else unset)
        elif line.startswith("the images"):
            advice.append("give the --data-dir of the earlier ones")
        elif line.startswith("the weights"):
            advice.append(
                "put the earlier file back (or take this one away: a run that has begun needs none)"
            )
        else:
            advice.append("bring the earlier code back")
    return f"{' and '.join(dict.fromkeys(advice))}, or start anew with --fresh (the old is kept)"


def disagreement(origins: Mapping[str, Origin]) -> str:
    """Which two of these records, by name, differ in the code or the settings that both have, in
    words that name both; "": none."""
    first: dict[str, tuple[str, str, Origin]] = {}
    for name, origin in origins.items():
        marks = {f"the code of {what}": _hash(code) for what, code in origin.code.items()}
        marks |= {setting: str(value) for setting, value in origin.settings.items()}
        for what, mark in marks.items():
            known, other, before = first.setdefault(what, (mark, name, origin))
            if mark != known:
                return (
                    f"{what} was {known} in {other} (commit {_commit(before)}) and {mark} in "
                    f"{name} (commit {_commit(origin)})"
                )
    return ""


def _module(code: Code | None) -> str:
    return "" if code is None else code.module


def _hash(code: Code | None) -> str:
    return "unknown" if code is None else code.sha256[:12]


def _commit(origin: Origin) -> str:
    session = origin.sessions[-1]
    if session.commit is None:
        return "unknown"
    return session.commit[:10] + (" with changes" if session.dirty else "")


def strip_machine_paths(origin: Origin) -> Origin:
    """Without the folders of the machine that it comes from: their last part alone stays."""
    images, weights = origin.images, origin.weights
    if images is not None:
        images = dataclasses.replace(images, source=_relative(images.source))
    if weights is not None:
        weights = dataclasses.replace(weights, source=_relative(weights.source))
    sessions = tuple(
        dataclasses.replace(s, command=_without_folders(s.command), xla_flags=_bare(s.xla_flags))
        for s in origin.sessions
    )
    return dataclasses.replace(origin, images=images, sessions=sessions, weights=weights)


def _relative(source: str) -> str:
    return "/".join(PurePath(source).parts[-2:]) if Path(source).is_absolute() else source


def _without_folders(command: str) -> str:
    return shlex.join(_last_part(word) for word in shlex.split(command))


def _bare(flags: str) -> str:
    return " ".join(_last_part(word) for word in flags.split())


def _last_part(word: str) -> str:
    option, equals, value = word.rpartition("=")
    return f"{option}{equals}{PurePath(value).name}" if value.startswith(("/", "~")) else word


class Recorded(Protocol):
    """Anything with an origin."""

    @property
    def origin(self) -> Origin | None:
        """None where it was made before origins were recorded."""


def summarize(records: Iterable[Recorded]) -> str:
    """A line for below a table: at which commits, with what versions, on which hosts.

    Empty where that was recorded for none of them.
    """
    origins = [record.origin for record in records]
    known = [origin for origin in origins if origin is not None]
    if not known:
        return ""
    packages = {
        f"{name} {origin.sessions[-1].versions[name]}"
        for origin in known
        for name in ("physjax", "jax")
        if name in origin.sessions[-1].versions
    }
    hosts = {session.host for origin in known for session in origin.sessions}
    sentences = [
        f"Made at commit {_counted(_commit(o) for o in known)} with "
        f"{', '.join(sorted(packages))} on {', '.join(sorted(hosts))}."
    ]
    unknown = len(origins) - len(known)
    if unknown:
        sentences.append(f"The code of {unknown} of {len(origins)} runs was not recorded.")
    return " ".join(sentences)


def _counted(names: Iterable[str]) -> str:
    counts = Counter(names)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(
        f"{name} ({count} {'run' if count == 1 else 'runs'})"
        for name, count in sorted(counts.items())
    )
