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
from physjax.records.relaxation import FILE, read_relaxation
from physjax.report.relaxation import report_relaxation
from physjax.train.loop import fit

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def clamped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relaxation")
    config = configure(
        folder,
        model={"law": "none", "width": 0.2},
        data={"train_examples": 60, "test_examples": 30},
        optim={"epochs": 1, "learning_rate": 0.01},
        rule={"update_rule": "coupled-learning", "rounds": 6, "eta": 0.2},
        run={"compare_gradients": True},
    )
    fit(config)
    return folder / "run"


def test_energy_and_residuals_fall_and_the_states_are_those_of_one_image(clamped: Path) -> None:
    found = physjax.load_run(clamped).relaxation(8)
    assert found.layers == ("conv1", "conv2", "conv3", "fc1", "fc2")
    assert (found.rule, found.examples) == ("coupled-learning", 8)
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
    again = read_relaxation(clamped)
    assert again is not None
    np.testing.assert_array_equal(again.energy, found.energy)
    for one, other in zip(again.settled, found.settled, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_image_has_the_mean_energy_of_itself(clamped: Path) -> None:
    one, many = relax(clamped, examples=1), relax(clamped, examples=10_000)
    assert many.examples == 30
    np.testing.assert_allclose(one.free[-1], many.free[-1], rtol=1e-3, atol=1e-4)
    assert 0.1 < one.energy.sum() / many.energy.sum() < 10


def test_both_figures_are_drawn_in_every_format(clamped: Path) -> None:
    relax(clamped, examples=4)
    files = report_relaxation(clamped, ("png", "svg"))
    assert {file.name for file in files} == {
        f"{name}.{kind}" for name in ("relaxation", "states") for kind in ("png", "svg")
    }
    text = (clamped / "figures" / "relaxation.svg").read_text(encoding="utf-8")
    for words in ("energy of an image", "conv3", "cosine with backpropagation", "4 images"):
        assert words in text
    states = (clamped / "figures" / "states.svg").read_text(encoding="utf-8")
    assert "driven − free" in states


def test_damaged_missing_and_impossible_are_told(clamped: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 images cannot settle"):
        relax(clamped, examples=0)
    (clamped / FILE).write_bytes(b"no archive")
    with pytest.raises(RecordError, match="damaged"):
        read_relaxation(clamped)
    (clamped / FILE).unlink()
    with pytest.raises(RecordError, match="evaluate --relaxation"):
        report_relaxation(clamped)
    config = configure(
        tmp_path, data={"train_examples": 20, "test_examples": 10}, optim={"epochs": 1}
    )
    fit(config)
    with pytest.raises(ConfigError, match="'backprop' has no layers that settle"):
        relax(tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()
