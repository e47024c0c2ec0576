"""Names and paths that can be written on any disk, and that Orbax can read checkpoints from."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from physjax.schema import OWN

_LARGEST = 1e300
"""Of a setting's absolute value: JSON and TOML hold it in every program."""
_UNREADABLE = "[]*?\\"
"""Orbax takes a checkpoint's path for a pattern, and finds none that has one of these in it."""


def check_text(text: str) -> None:
    """Raise ValueError, which says what it must be, for text that cannot be shown or written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it must be text that UTF-8 can write") from None
    if not all(c.isprintable() for c in text):
        raise ValueError("it must have no control characters")


def check_name(name: str) -> str:
    """`name`, if it can be a folder's. Raises ValueError that says what it must be."""
    check_text(name)
    if not name or name in (".", "..") or "/" in name:
        raise ValueError("it must be a folder's name without '/'")
    if any(c in name for c in _UNREADABLE):
        raise ValueError(f"it must have none of {' '.join(_UNREADABLE)}")
    if len(name.encode()) > 200:
        raise ValueError("it must have at most 200 bytes")
    return name


def _check_word(word: str) -> str:
    if len(check_name(word).encode()) > 64:
        raise ValueError("it must have at most 64 bytes")
    return word


def _check_dataset(name: str) -> str:
    parts = name.split("/")
    if len(parts) > 3 or len(name.encode()) > 64:
        raise ValueError("it must have at most 64 bytes, and at most three parts between '/'")
    for part in parts:
        check_name(part)
    return name


def in_folder_name(dataset: str) -> str:
    """The name of a data set as a part of a folder's: `cifar10_corrupted/blur_1` with a `-`."""
    return dataset.replace("/", "-")


def check_setting_name(name: str) -> str:
    """`name`, if a setting of a law or rule can have it. Raises ValueError that says what it must
    be."""
    if not name.isidentifier() or len(name.encode()) > 64:
        raise ValueError("it must be a name of letters, digits and '_', of at most 64 bytes")
    if name in (OWN, "update_rule"):
        raise ValueError("it must be another name: that one is taken")
    return name


def check_setting(value: object) -> object:
    """`value`, if a setting of a law or rule can have it. Raises ValueError that says what it must
    be."""
    if isinstance(value, str):
        check_text(value)
        if len(value.encode()) > 200:
            raise ValueError("it must have at most 200 bytes")
    elif not (isinstance(value, bool | int | float) and abs(value) <= _LARGEST):
        raise ValueError("it must be a finite number, true or false, or text")
    return value


def _check_path(path: str) -> str:
    check_text(path)
    if not path:
        raise ValueError("it must name a folder")
    if len(path.encode()) > 4000 or any(len(part.encode()) > 255 for part in path.split("/")):
        raise ValueError("it must be a path that is not as long")
    return path


def _check_output_path(path: str) -> str:
    if any(c in path for c in _UNREADABLE):
        raise ValueError(f"it must have none of {' '.join(_UNREADABLE)}")
    return _check_path(path)


Name = Annotated[str, AfterValidator(check_name)]
"""A folder's name, at most 200 bytes."""
Word = Annotated[str, AfterValidator(_check_word)]
"""A name that is a part of a folder's, at most 64 bytes."""
DatasetName = Annotated[str, AfterValidator(_check_dataset)]
"""The name of a data set, or with TFDS's config and version `name/config/version`."""
SettingName = Annotated[str, AfterValidator(check_setting_name)]
"""The name of a setting that a law or rule has."""
SettingValue = Annotated[bool | int | float | str, PlainValidator(check_setting)]
"""What such a setting may hold; the law or rule narrows it."""
PathText = Annotated[str, AfterValidator(_check_path)]
"""A path that is read."""
Plugins = Annotated[
    tuple[PathText, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)
]
"""Plug-ins by module, `my_lab.laws`, or file, `laws.py`."""
OutputPath = Annotated[str, AfterValidator(_check_output_path)]
"""A path that checkpoints are written below."""
