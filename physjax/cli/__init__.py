"""The commands: each parses its options and calls the package."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "train": "train one model from a recipe, and draw its figures",
    "study": "run a study: models x laws x data sets x seeds, tables, figures",
    "evaluate": "evaluate a trained run: clean, corrupted, calibration, classes",
    "report": "write an HTML page about runs and studies, to look at",
    "predict": "say what a trained run sees on image files",
    "export": "take a trained network out: StableHLO, ONNX, safetensors, PyTorch",
    "prepare": "prepare a data set in a TFDS folder, without TensorFlow",
    "resistive": "train networks of resistors by the paper's Eq. (1) and its kin",
}
"""Each is a file of this package with a function `main`."""


def run(name: str) -> int:
    """Do the command of that name with the options in `sys.argv`; its exit code."""
    from physjax.cli import common

    return common.exit_code(importlib.import_module(f"physjax.cli.{name}").main)


def main() -> int:
    """`physjax COMMAND ...`, as installed and as `python -m physjax`; the exit code."""
    words = sys.argv[1:]
    if words and words[0] in COMMANDS:
        sys.argv = [f"physjax {words[0]}", *words[1:]]
        return run(words[0])
    if words == ["--version"]:
        from physjax import runtime

        print(f"physjax {runtime.versions()['physjax']}")
        return 0
    if words[:1] == ["--print-completion"] and len(words) == 2:
        from physjax.cli import common, completion

        return common.exit_code(lambda: completion.print_completion(words[1], COMMANDS))
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    usage = "usage: physjax COMMAND [options]; physjax COMMAND --help tells its options"
    more = "physjax --version; physjax --print-completion bash|zsh|fish, for the Tab key"
    text = "\n".join([usage, "", *lines, "", more])
    if words in (["--help"], ["-h"]):
        print(text)
        return 0
    problem = f"there is no command {words[0]!r}" if words else "a command is missing"
    print(f"error: {problem}\n{text}", file=sys.stderr)
    return 2
