"""Studies in two stages: one chooses on held-out images, and another confirms on fresh seeds.

Who looks at many arms and reports the best one reports its luck too. A grid with
`screening = "NAME"` says that the study NAME chose its arms; the two must not share a seed, and the
choice must not have been made by the test images.
"""

from __future__ import annotations

from physjax.config import ConfigError
from physjax.study.design import Study, plan
from physjax.study.paths import Paths


def check_screening(study: Study, paths: Paths) -> None:
    """Raise UserError where `study` cannot confirm what the study that it names has chosen.

    That is where it is not in the results folder, where its runs had no held-out images or have not
    all ended, and where the two share a seed.
    """
    if study.screening is None:
        return
    folder = paths.study_folder(study.screening)
    if not folder.grid_file.exists():
        raise ConfigError(
            f"screening is {study.screening!r}, but there is no study in {folder.path}; run it "
            "first, or leave the line out"
        )
    earlier = folder.read_study()
    shared = sorted(set(study.seeds) & set(earlier.seeds))
    if shared:
        raise ConfigError(
            f"seeds has {', '.join(map(str, shared))}, as the study {study.screening!r} that chose "
            f"the arms: its luck would be counted again; name others, e.g. from "
            f"{max(earlier.seeds) + 1} on"
        )
    runs = plan(earlier)
    seen = [cell.name for cell, config in runs.items() if not config.data.holdout]
    if seen:
        raise ConfigError(
            f"the study {study.screening!r} has runs without held-out images ({seen[0]}), so that "
            "it chose by the test images; screen with data.holdout, e.g. 0.1"
        )
    left = len(runs) - len(folder.read(runs, mixed=True))
    if left:
        raise ConfigError(
            f"the study {study.screening!r} that is to choose has not ended: {left} of "
            f"{len(runs)} runs are left; go on with physjax study --name {study.screening}"
        )
