"""Images of one's own as a data set: decoded once, and with the facts that the record holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from physjax.config import DataConfig
from physjax.config.names import in_folder_name
from physjax.data import facts as limits
from physjax.data.cache import cached_as, identity_of, path_hash
from physjax.data.facts import Facts, Known, of_arrays, of_files, of_images, remembered
from physjax.data.pixels import SIDE
from physjax.data.spec import DatasetSpec, OwnImages
from physjax.data.stream import is_streamed
from physjax.data.types import DataError, Dataset, DatasetInfo, Split

UNBALANCED = 1.5
"""From this ratio of the largest class to the smallest on, the user is shown their sizes."""
_SHOWN = 12
"""Classes whose sizes are shown; of more, the smallest and the largest ones."""


def load_own(spec: DatasetSpec, config: DataConfig) -> Dataset:
    """The images that `config` names, each of `config.image_size` pixels a side (None: 32).

    Where they are streamed, they are not decoded now, nor are all of them ever in memory or in the
    cache. Mean and deviation are those of the training images. Whether one mirrors them in training
    is for the config to say (`augment.mirror`); that it may be done is taken for granted.

    Raises:
      DataError: they are not there, or an image is damaged; the message names it.
    """
    assert spec.find is not None
    found, side = spec.find(config), config.image_size or SIDE
    train, test, facts = (_streamed if _is_streamed(found, config) else _in_memory)(
        spec, found, config, side
    )
    if min(facts.std) == 0:
        raise DataError(
            f"{found.source}: all pixels of a channel are the same; nothing can be seen"
        )
    info = DatasetInfo(
        name=spec.name,
        title=found.title,
        num_classes=len(found.class_names),
        class_names=found.class_names,
        mean=facts.mean,
        std=facts.std,
        mirror=True,
        version=found.version,
        source=str(found.source.resolve()),
        fingerprint=facts.fingerprint,
        notice="\n".join(filter(None, [found.remark, _balance(found.class_names, train)])),
        image_size=side,
        native=(side, side, 1 if facts.grey else 3),
    )
    return Dataset(train, test, info)


def _is_streamed(found: OwnImages, config: DataConfig) -> bool:
    return found.lazy is not None and is_streamed(
        config.mode, sum(found.counts), config.image_size or SIDE
    )


def _in_memory(
    spec: DatasetSpec, found: OwnImages, config: DataConfig, side: int
) -> tuple[Split, Split, Facts]:
    """All images decoded, from the cache if it has them."""
    (train, test), mark = cached_as(
        _name(spec, found, side),
        _identity(found, side),
        found.counts,
        config.cache_dir,
        lambda: found.read(side),
        side,
    )
    if _are_many(found):
        facts = of_files(_root(found), found.files, train.images)
    else:
        facts = of_arrays(mark, train.images)
    return train, test, facts


def _streamed(
    spec: DatasetSpec, found: OwnImages, config: DataConfig, side: int
) -> tuple[Split, Split, Facts]:
    """The images to be decoded, and what is known of them already, or once they were looked at."""
    assert found.lazy is not None
    assert found.labels is not None
    images, read_labels = found.lazy(side), found.labels

    def find() -> Known:
        train, test = (Split(*each) for each in zip(images, read_labels(), strict=True))
        if _are_many(found):
            facts = of_files(_root(found), found.files, images[0], config.workers)
        else:
            facts = of_images(train, test, config.workers)
        return facts, train.labels, test.labels

    facts, *labels = remembered(
        _name(spec, found, side), _identity(found, side), config.cache_dir, find
    )
    return Split(images[0], labels[0]), Split(images[1], labels[1]), facts


def _are_many(found: OwnImages) -> bool:
    """Whether too many to look at each. It decides the fingerprint, and must not depend on how they
    are used."""
    return found.lazy is not None and sum(found.counts) > limits.MANY


def _name(spec: DatasetSpec, found: OwnImages, side: int) -> str:
    return f"{in_folder_name(spec.name)}-{side}-{path_hash(found.source)}"


def _identity(found: OwnImages, side: int) -> str:
    return identity_of(_root(found), found.files, found.counts, side, found.class_names)


def _root(found: OwnImages) -> Path:
    return found.source if found.source.is_dir() else found.source.parent


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
