"""Parts of the training images: a held-out validation set, and fewer images of each class."""

from __future__ import annotations

import numpy as np

from physjax.data.types import DataError, Split

SEED = 0


def hold_out(train: Split, fraction: float) -> tuple[Split, Split | None]:
    """Put a fraction of the images aside, the same of each class, always the same ones.

    Returns:
      (rest, validation), both in the original order; validation is None for fraction 0.

    Raises:
      DataError: a fraction outside [0, 1), or one that leaves a class without an image.
    """
    if fraction == 0:
        return train, None
    if not 0 < fraction < 1:
        raise DataError(f"holdout is {fraction}, but must be at least 0 and less than 1")
    # Here, not above: scikit-learn takes half a second to import, and most runs hold nothing out.
    from sklearn.model_selection import train_test_split

    try:
        rest, aside = train_test_split(
            np.arange(len(train)),
            test_size=fraction,
            stratify=train.labels,
            random_state=SEED,
        )
    except ValueError as error:
        raise DataError(f"holdout {fraction} of {len(train)} images: {error}") from error
    return _select(train, np.sort(rest)), _select(train, np.sort(aside))


def split_off(labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of what stays and what is split off, a fraction of each class, at least one of it.

    Always the same for the same labels. Each class must have two examples.
    """
    generator, aside = np.random.default_rng(SEED), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        aside[members[: max(1, round(fraction * len(members)))]] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)


def take_stratified(
    split: Split, count: int, num_classes: int, field: str = "train_examples"
) -> Split:
    """Only `count` images, equally many of each class, always the same, in the original order.

    A smaller selection is part of every larger one, so that studies over the number of training
    images compare like with like. `field` is what messages call the count.

    Raises:
      DataError: count is not a positive multiple of num_classes, or a class has too few images.
    """
    each, remainder = divmod(count, num_classes)
    if count <= 0 or remainder:
        raise DataError(
            f"{field} is {count}, but must be a positive multiple of {num_classes}, the "
            "number of classes"
        )
    available = np.bincount(split.labels, minlength=num_classes)
    if each > available.min():
        raise DataError(
            f"{field} {count} means {each} images of each class, but class "
            f"{available.argmin()} has {available.min()}: at most {available.min() * num_classes}"
        )
    order = np.random.default_rng(SEED).permutation(len(split))
    shuffled = split.labels[order]
    chosen = [order[np.flatnonzero(shuffled == label)[:each]] for label in range(num_classes)]
    return _select(split, np.sort(np.concatenate(chosen)))


def _select(split: Split, indices: np.ndarray) -> Split:
    return Split(split.images.take(indices, axis=0), split.labels[indices])
