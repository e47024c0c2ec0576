"""Say what a trained run sees on image files of any size.

    physjax predict runs/mine cat.jpg holiday/ 'more/**/*.png'
    find . -name '*.jpg' | physjax predict runs/mine - --csv > found.csv

A file that is no image, or a damaged one, is named and left out, and the exit code is 1 then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn

from physjax import runtime
from physjax.cli import options
from physjax.cli.common import Flag
from physjax.cli.predictions import CsvWriter, JsonWriter, Prediction, TableWriter, Writer
from physjax.config import ConfigError
from physjax.data import DatasetInfo
from physjax.data.image_files import find_images
from physjax.data.images import ImageError, read_image
from physjax.errors import Incomplete
from physjax.train.progress import Bar

_AT_ONCE = 64
"""Images that are read and predicted at a time, at most."""
_MANY = 100
"""From so many images on there is a bar."""


@dataclass(frozen=True)
class Command:
    """Which run, which images, and how the answer looks."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or a safetensors file that `physjax export` made."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Image files, folders, patterns; `-`: names from standard input, one a line."""
    top_k: int = 3
    """So many classes of each image, the most probable first."""
    json: Flag = False
    """A list of objects, in place of a table."""
    csv: Flag = False
    """Lines of image, rank, class and probability, in place of a table."""
    tta: Literal["none", "mirror", "mirror+shift"] = "none"
    """Average the probabilities over views of each image."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A file or module with what the run needs from outside, where the recorded one has moved."""
    other_code: bool = False
    """Predict also where the law's or the base model's code is not what was trained."""


def main() -> None:
    command = options.parse(Command, description=__doc__)
    if command.top_k < 1:
        raise ConfigError(f"--top-k is {command.top_k}; it must be at least 1")
    if command.json and command.csv:
        raise ConfigError("--json and --csv: leave out one of them")
    if not command.images:
        raise ConfigError("no images are named; name files or folders, or - for a list")
    runtime.configure(restart=True)
    runtime.require_devices()

    # After configure(), which must stand before the first use of JAX.
    from physjax.api import load_run

    if command.run.is_file():
        seen = _of_file(command)
    else:
        run = load_run(command.run, plugins=command.plugin, other_code=command.other_code)
        seen = Network(run.info, lambda images: run.predict(images, command.tta))
    names = seen.info.class_names
    paths = list(find_images(_named(command.images)))
    readable = [path for path in paths if isinstance(path, Path)]
    if command.json:
        writer: Writer = JsonWriter()
    elif command.csv:
        writer = CsvWriter()
    else:
        writer = TableWriter(readable, names, min(command.top_k, len(names)))
    left_out = _predict(seen, paths, command, writer)
    if left_out:
        raise Incomplete(f"{left_out} of {len(paths)} could not be read")


@dataclass(frozen=True)
class Network:
    """What is asked."""

    info: DatasetInfo
    """What it must know of images."""
    predict: Callable[[np.ndarray], np.ndarray]
    """uint8 images [N, S, S, 3] -> class probabilities [N, K]."""


def _of_file(command: Command) -> Network:
    from physjax.export import read_safetensors

    if command.tta != "none":
        raise ConfigError(f"--tta {command.tta} needs a run; {command.run} is a file")
    network = read_safetensors(command.run)
    return Network(network.info, network.probabilities)


def _named(words: Sequence[str]) -> Iterator[str]:
    """The words, and in the place of `-` the lines of standard input."""
    for word in words:
        if word != "-":
            yield word
            continue
        if sys.stdin is None:
            raise ConfigError("- means a list on standard input, which is closed")
        data = sys.stdin.buffer.read()
        for line in data.split(b"\0" if b"\0" in data else b"\n"):
            name = os.fsdecode(line.rstrip(b"\r\n"))
            if name:
                yield name


def _predict(
    network: Network, paths: Sequence[Path | ImageError], command: Command, writer: Writer
) -> int:
    """Write what the network sees on the images; how many could not be read."""
    info = network.info
    left_out, top = 0, min(command.top_k, info.num_classes)
    # Lines above a bar on the same terminal go through it.
    on_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout if on_terminal else sys.stderr,
        soft_wrap=True,
        highlight=False,
        emoji=False,
        quiet=len(paths) < _MANY,
    )
    with Bar("predicting", len(paths), console, MofNCompleteColumn(), lambda: "") as bar:

        def write(text: str) -> None:
            if text and on_terminal and not console.quiet:
                bar.say(text)
            elif text:
                print(text)

        head = writer.head()
        for start in range(0, len(paths), _AT_ONCE):
            kept: list[tuple[Path, np.ndarray]] = []
            for path in paths[start : start + _AT_ONCE]:
                try:
                    if isinstance(path, ImageError):
                        raise path
                    kept.append((path, read_image(path, info.native, info.image_size)))
                except ImageError as error:
                    left_out += 1
                    print(error, file=sys.stderr)
            if kept:
                found = network.predict(np.stack([pixels for _, pixels in kept]))
                write(head)
                head = ""
                for (path, _), probabilities in zip(kept, found, strict=True):
                    order = np.argsort(-probabilities, kind="stable")[:top]
                    classes = [(info.class_names[i], float(probabilities[i])) for i in order]
                    write(writer.line(Prediction(path, tuple(classes))))
            bar.move(completed=min(start + _AT_ONCE, len(paths)))
            sys.stdout.flush()
            if getattr(sys.stdout, "gone", False):  # as where `head` has read enough
                return left_out
        write(head)
        write(writer.tail())
    return left_out
