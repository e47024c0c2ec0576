"""Preparing that ends too early leaves nothing behind."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from helpers import published
from physjax.data import DataError, preparing
from physjax.data.preparing import prepare_spec

ABANDONED = ["cifar10-unfinished-old", "cifar10-unfinished-new", "cifar100-unfinished-old"]


@pytest.mark.parametrize(("error", "seen"), [(RuntimeError, DataError), (KeyboardInterrupt,) * 2])
def test_an_interruption_leaves_nothing(
    error: type[BaseException],
    seen: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec, archives, _, _ = published.published_files("cifar10", tmp_path / "archives")
    encode, calls = preparing.encode_png, []

    def fail(image: np.ndarray) -> bytes:
        calls.append(1)
        if len(calls) == 70:  # in the second split
            raise error
        return encode(image)

    monkeypatch.setattr(preparing, "encode_png", fail)
    with pytest.raises(seen):
        prepare_spec(spec, str(tmp_path / "tfds"), archives)
    assert list((tmp_path / "tfds").iterdir()) == []


def test_what_a_kill_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    spec, archives, _, _ = published.published_files("cifar10", tmp_path / "archives")
    old, recent, others = (tmp_path / f".{name}" for name in ABANDONED)
    for folder in (old, recent, others):
        folder.mkdir()
        (folder / "records").touch()
    for folder in (old, others):
        os.utime(folder, (0, 0))
    prepare_spec(spec, str(tmp_path), archives)
    assert not old.exists()
    assert recent.exists(), "another process may be at work there"
    assert others.exists()


def test_a_full_disk_is_said_as_such_and_leaves_nothing(tmp_path: Path) -> None:
    spec, archives, _, _ = published.published_files("cifar10", tmp_path / "archives")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"CIFAR-10 cannot be prepared in .*File too large"):
            prepare_spec(spec, str(tmp_path / "tfds"), archives)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "tfds").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    spec, archives, _, _ = published.published_files("mnist", tmp_path / "archives")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be prepared in .*file/tfds"):
        prepare_spec(spec, str(tmp_path / "file" / "tfds"), archives)
