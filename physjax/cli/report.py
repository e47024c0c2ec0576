"""Write one HTML page about trained runs and studies, to look at without a network.

    physjax report runs/mine
    physjax report runs/one runs/two results/studies/bases --output both.html

It has curves, confusion, the surest mistakes as pictures, forces around the ring and filters, for
each under a tab; several runs are compared. Mistakes and filters need a run's checkpoint and its
images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from physjax import runtime
from physjax.cli import options
from physjax.cli.common import Flag


@dataclass(frozen=True)
class Command:
    """What the page is about, and where it goes."""

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs and studies."""
    output: Path = Path("report.html")
    """The page."""
    no_inspection: Flag = False
    """Show what the records hold, and do not look into the networks."""
    plugin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A file or module with what a run needs from outside, where the recorded one has moved."""
    other_code: bool = False
    """Look also where the law's or the base model's code is not what was trained."""
    data_dir: str | None = None
    """TFDS folder. None: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""


def main() -> None:
    command = options.parse(Command, description=__doc__)
    from physjax.report.html import write_page

    lacks = {}
    if command.no_inspection:
        lacks = dict.fromkeys(command.paths, "--no-inspection was given")
    else:
        runtime.configure(restart=True)
        lacks = _inspect(command)
    write_page(command.paths, command.output, lacks)
    print(command.output)


def _inspect(command: Command) -> dict[Path, str]:
    """Look into every run that nobody has looked into; why it could not be, by folder."""
    from physjax.errors import UserError
    from physjax.evaluate.inspection import ensure_inspected
    from physjax.records import RunFolder
    from physjax.study.folder import StudyFolder

    lacks = {}
    for path in command.paths:
        # What has not ended is refused by the page.
        if StudyFolder(path).grid_file.exists() or RunFolder(path).read().result is None:
            continue
        try:
            ensure_inspected(
                path,
                data_dir=command.data_dir,
                plugins=command.plugin,
                other_code=command.other_code,
                log=print,
            )
        # The page is worth having without it, and says what is missing.
        except UserError as error:
            lacks[path] = str(error)
    return lacks
