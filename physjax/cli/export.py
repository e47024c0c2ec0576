"""Take a trained network out of physjax, its forces folded, with a model card beside it.

    physjax export runs/mine --to onnx
    physjax export runs/mine --to stablehlo safetensors --out exported
    physjax export alexnet.pth --from torch --to onnx --class-names imagenet.txt

The last takes in weights of torchvision's AlexNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from physjax import runtime
from physjax.cli import options
from physjax.config import ConfigError
from physjax.errors import UserError
from physjax.export import EXPORTS


@dataclass(frozen=True)
class Command:
    """What is exported, to what, and where to."""

    run: tyro.conf.Positional[Path]
    """The run's folder, or with --from the file of weights."""
    to: Annotated[tuple[str, ...], options.choices(tuple(EXPORTS))] = ()
    """Formats: one or several."""
    out: Path | None = None
    """The file, where one format is named and its name has the format's ending, else a folder. Not
    given: RUN/export, or the folder of the weights."""
    source: Annotated[Literal["run", "torch", "safetensors"], tyro.conf.arg(name="from")] = "run"
    """`torch`: a state dict of torchvision's AlexNet, by torch.save or as safetensors;
    `safetensors`: an export of physjax."""
    class_names: Path | None = None
    """With --from torch: a text file with the name of a class in each line."""
    no_fold: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave the forces as they are, computed as a part of the network."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A file or module with what the run needs from outside, where the recorded one has moved."""
    other_code: bool = False
    """Export also where the law's or the base model's code is not what was trained."""


def main() -> None:
    command = options.parse(Command, description=__doc__)
    if not command.to:
        raise ConfigError(f"name formats: --to {' '.join(EXPORTS)}, one or several of them")
    kinds = [EXPORTS.get_named(name) for name in dict.fromkeys(command.to)]
    if command.source != "torch" and command.class_names is not None:
        raise ConfigError("--class-names goes with --from torch; the others know their classes")
    runtime.configure(restart=True)
    runtime.require_devices()

    # After configure(), which must stand before the first use of JAX.
    from physjax.api import load_run
    from physjax.export import network_of_torch, read_safetensors, write_export

    if command.source != "run":
        network = (
            network_of_torch(command.run, _names(command.class_names))
            if command.source == "torch"
            else read_safetensors(command.run)
        )
        folder, stem = command.run.parent, command.run.stem
    else:
        run = load_run(command.run, plugins=command.plugin, other_code=command.other_code)
        network = run.portable(merge=not command.no_fold)
        folder, stem = command.run / "export", "model"
    out = command.out
    for kind in kinds:
        if out is not None and out.suffix == kind.suffix and len(kinds) == 1:
            path = out
        else:
            path = (folder if out is None else out) / f"{stem}{kind.suffix}"
        for written in write_export(network, kind.name, path):
            print(written)


def _names(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]
