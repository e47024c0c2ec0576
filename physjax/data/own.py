"""Images of one's own as a data set: decoded once, and with the facts that the record holds."""

from __future__ import annotations

import numpy as np

from physjax.config import DataConfig
from physjax.config.names import in_folder_name
from physjax.data.cache import cached_as, identity_of, path_hash
from physjax.data.pixels import SIDE, channel_statistics
from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError, Dataset, DatasetInfo, Split

UNBALANCED = 1.5
"""From this ratio of the largest class to the smallest on, the user is shown their sizes."""
_SHOWN = 12
"""Classes whose sizes are shown; of more, the smallest and the largest ones."""


def load_own(spec: DatasetSpec, config: DataConfig) -> Dataset:
    """The images that `config` names, each of `config.image_size` pixels a side (None: 32).

    Mean and deviation are those of the training images. Whether one mirrors them in training is for
    the config to say (`augment.mirror`); that it may be done is taken for granted.

    Raises:
      DataError: they are not there, or an image is damaged; the message names it.
    """
    assert spec.find is not None
    found, side = spec.find(config), config.image_size or SIDE
    root = found.source if found.source.is_dir() else found.source.parent
    (train, test), mark = cached_as(
        f"{in_folder_name(spec.name)}-{side}-{path_hash(found.source)}",
        identity_of(root, found.files, found.counts, side, found.class_names),
        found.counts,
        config.cache_dir,
        lambda: found.read(side),
        side,
    )
    mean, std = channel_statistics(train.images)
    if min(std) == 0:
        raise DataError(
            f"{found.source}: all pixels of a channel are the same; nothing can be seen"
        )
    grey = all(
        np.array_equal(train.images[..., 0], train.images[..., channel]) for channel in (1, 2)
    )
    info = DatasetInfo(
        name=spec.name,
        title=found.title,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        mean=mean,
        std=std,
        mirror=True,
        version=found.version,
        source=str(found.source.resolve()),
        fingerprint=mark,
        notice="\n".join(filter(None, [found.remark, _balance(found.class_names, train)])),
        image_size=side,
        native=(side, side, 1 if grey else 3),
    )
    return Dataset(train, test, info)


def _balance(names: tuple[str, ...], train: Split) -> str:
    """The sizes of the classes where they differ much; else empty."""
    counts = np.bincount(train.labels, minlength=len(names))
    if counts.max() <= UNBALANCED * counts.min():
        return ""
    order = np.argsort(-counts, kind="stable")
    parts = [f"{names[i]} {counts[i]:,}" for i in order]
    if len(parts) > _SHOWN:
        half = _SHOWN // 2
        parts = [*parts[:half], "...", *parts[-half:]]
    return f"the classes are unbalanced; training images: {', '.join(parts)}"
