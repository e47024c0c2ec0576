"""A rule's gradient beside backpropagation's, by layer: what the epochs' records say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.runs import configure
from physjax import data
from physjax.config import Config
from physjax.train.gradients import compare_gradients, gradient_pair
from physjax.train.loop import fit
from physjax.train.setup import TrainSetup
from physjax.train.state import init_state

pytestmark = pytest.mark.quick_compile

LAYERS = {"conv1", "conv2", "conv3", "fc1", "fc2"}


def compared(config: Config) -> dict[str, dict[str, float]]:
    """What is found on the first images, at the start."""
    dataset = data.load(config.data)
    setup = TrainSetup(config, dataset.info, len(dataset.train))
    state = init_state(setup).replace(opt_state=())
    train = dataset.train
    return compare_gradients(gradient_pair(setup), state, train.images[:20], train.labels[:20])


def test_feedback_alignment_has_the_true_gradient_in_the_last_layer_alone(tmp_path: Path) -> None:
    """Its own way back must not be taken for backpropagation's."""
    found = compared(configure(tmp_path, rule={"update_rule": "feedback-alignment"}))
    assert set(found) == LAYERS
    assert found["fc2"]["gradient_cosine"] == pytest.approx(1, abs=1e-6)
    assert found["fc2"]["gradient_length"] == pytest.approx(1, abs=1e-6)
    others = [found[layer]["gradient_cosine"] for layer in LAYERS - {"fc2"}]
    assert all(-0.9 < cosine < 0.9 for cosine in others)
    assert all("moved_cosine" not in own for own in found.values())


def test_what_a_rule_moves_itself_and_what_stands_still_are_told_apart(tmp_path: Path) -> None:
    own: dict[str, Any] = {"output": "nudged", "eta": 0.02, "gamma": 1e-3, "rounds": 5}
    rule = {"update_rule": "channel-resistances", "kernels": "frozen", "others": "frozen", **own}
    found = compared(configure(tmp_path, model={"law": "none"}, rule=rule))
    for layer in ("conv1", "conv2", "conv3"):  # frozen parameters are moved to where they are
        assert set(found[layer]) == {"moved_cosine"}
        # Nudged a little, resistances go down the gradient, which reaches them through K/R.
        assert 0.9 < found[layer]["moved_cosine"] <= 1 + 1e-9
    for layer in ("fc1", "fc2"):
        assert set(found[layer]) == {"gradient_cosine", "gradient_length"}
        assert found[layer]["gradient_cosine"] > 0.95


def test_the_option_adds_them_to_each_epoch_and_changes_nothing(tmp_path: Path) -> None:
    parts: dict[str, dict[str, Any]] = {
        "model": {"law": "ring", "norm": "batch"},
        "data": {"train_examples": 60, "test_examples": 20},
    }
    plain = configure(tmp_path / "plain", **parts)
    looked = configure(tmp_path / "looked", **parts)
    first = fit(plain)
    second = fit(looked.replace(run={"compare_gradients": True}))
    for a, b in zip(first.epochs, second.epochs, strict=True):
        assert (a.train_loss, a.test_loss) == (b.train_loss, b.test_loss)
        for layer in LAYERS:
            found = dict(b.physics[layer])
            assert found.pop("gradient_cosine") == pytest.approx(1, abs=1e-6)
            assert found.pop("gradient_length") == pytest.approx(1, abs=1e-6)
            assert found == a.physics.get(layer, {})
