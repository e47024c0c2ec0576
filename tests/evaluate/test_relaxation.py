"""How a trained network comes to rest: what is kept of it, drawn of it, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import physjax
from helpers.runs import configure
from physjax.config import ConfigError
from physjax.evaluate.relaxation import CHANNELS, relax
from physjax.records import RecordError
from physjax.records.relaxation import FILE, Relaxation, read_relaxation
from physjax.report.relaxation import report_relaxation
from physjax.train.loop import fit

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def clamped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Relaxation]:
    """A run, and how it comes to rest on all its test images."""
    folder = tmp_path_factory.mktemp("relaxation")
    config = configure(
        folder,
        model={"law": "none", "width": 0.2},
        data={"train_examples": 60, "test_examples": 10},
        optim={"epochs": 1, "learning_rate": 0.01},
        rule={"update_rule": "coupled-learning", "rounds": 6, "eta": 0.2},
        run={"compare_gradients": True},
    )
    fit(config)
    path = folder / "run"
    return path, physjax.load_run(path).relaxation(10_000)


def test_energy_and_residuals_fall_and_the_states_are_those_of_one_image(
    clamped: tuple[Path, Relaxation],
) -> None:
    path, found = clamped
    assert found.layers == ("conv1", "conv2", "conv3", "fc1", "fc2")
    assert (found.rule, found.examples) == ("coupled-learning", 10)
    assert found.energy.shape == found.residual.shape == (7, 5)
    # Free: no energy, and nothing left over. Clamped: the output pulls, and the others follow.
    assert not found.energy[0].any()
    total = found.energy.sum(axis=1)
    assert 0 < total[-1] < total[1]
    assert found.residual[-1, :4].max() < found.residual[1:, :4].max() / 2
    assert not found.residual[:, 4].any()
    for free, settled in zip(found.free, found.settled, strict=True):
        assert free.shape == settled.shape
        assert free.shape[-1] <= max(CHANNELS, 26)
        assert not np.array_equal(free, settled)
    assert found.free[0].shape == (32, 32, min(CHANNELS, found.free[0].shape[-1]))
    # The output of the image's own class is pulled up, more than any other one.
    moved = found.settled[-1] - found.free[-1]
    assert moved.argmax() == found.label
    again = read_relaxation(path)
    assert again is not None
    np.testing.assert_array_equal(again.energy, found.energy)
    for one, other in zip(again.settled, found.settled, strict=True):
        np.testing.assert_array_equal(one, other)


def test_both_figures_are_drawn_in_every_format(clamped: tuple[Path, Relaxation]) -> None:
    path, _ = clamped
    files = report_relaxation(path, ("png", "svg"))
    assert {file.name for file in files} == {
        f"{name}.{kind}" for name in ("relaxation", "states") for kind in ("png", "svg")
    }
    text = (path / "figures" / "relaxation.svg").read_text(encoding="utf-8")
    for words in ("energy of an image", "conv3", "cosine with backpropagation", "10 images"):
        assert words in text
    states = (path / "figures" / "states.svg").read_text(encoding="utf-8")
    assert "driven − free" in states


def test_damaged_missing_and_impossible_are_told(
    clamped: tuple[Path, Relaxation], tmp_path: Path
) -> None:
    path, _ = clamped
    with pytest.raises(ConfigError, match="0 images cannot settle"):
        relax(path, examples=0)
    (path / FILE).write_bytes(b"no archive")
    with pytest.raises(RecordError, match="damaged"):
        read_relaxation(path)
    (path / FILE).unlink()
    with pytest.raises(RecordError, match="evaluate --relaxation"):
        report_relaxation(path)
    config = configure(
        tmp_path, data={"train_examples": 20, "test_examples": 10}, optim={"epochs": 1}
    )
    fit(config)
    with pytest.raises(ConfigError, match="'backprop' has no layers that settle"):
        relax(tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()
