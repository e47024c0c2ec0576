"""A small CIFAR-10 in the real format, prepared once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import published
from physjax.config import DataConfig
from physjax.data import DATASETS, load
from physjax.data.preparing import prepare_spec


@pytest.fixture(scope="session")
def prepared_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("small-cifar10")
    spec = published.small("cifar10")
    parts = [published.examples(spec, n, seed) for seed, n in ((0, 60), (1, 20))]
    archives = published.write(spec, base / "archives", *parts)
    prepare_spec(published.publish(spec, archives), str(base / "tfds"), archives)
    return base / "tfds"


@pytest.fixture
def small_cifar10(prepared_cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TFDS folder with 60 + 20 random images as cifar10, which the test may damage.

    For the test the table says that CIFAR-10 has so many.
    """
    monkeypatch.setitem(DATASETS, "cifar10", published.small("cifar10"))
    shutil.copytree(prepared_cifar10, tmp_path / "tfds")
    return tmp_path / "tfds"


@pytest.fixture(scope="session")
def warm_cifar10(shared_cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """The whole CIFAR-10, decoded once for all tests that read it."""
    config = DataConfig("cifar10", str(shared_cifar10), str(tmp_path_factory.mktemp("decoded")))
    load(config)
    return config
