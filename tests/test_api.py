"""physjax from Python: a run one can hold."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import physjax
from physjax.data import Split
from physjax.evaluate.record import RobustnessRecord
from physjax.forces import LAWS
from physjax.train.metrics import ClassificationMetrics

pytestmark = pytest.mark.quick_compile

LAW = physjax.ForceLaw(
    name="pull",
    equation="k[c] (y[c-1] - y[c])",
    source="a test",
    force=lambda params, y: params["k"] * (jnp.roll(y, 1, -1) - y),
    init=lambda channels: {"k": np.zeros(channels, np.float32)},
)


def config(folder: Path) -> physjax.Config:
    return physjax.recipe("smoke").replace(
        model={"name": "cnn"},
        data={"train_examples": 80},
        optim={"epochs": 1},
        run={"runs_dir": str(folder), "devices": 1},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[physjax.Run]:
    """A run with a law of one's own."""
    yield physjax.fit(config(tmp_path_factory.mktemp("runs")), law=LAW)
    LAWS.pop("pull", None)


@pytest.fixture(scope="module")
def test_split() -> Split:
    return physjax.load_dataset(physjax.recipe("smoke").data).test


def test_a_run_predicts_what_its_record_says(run: physjax.Run, test_split: Split) -> None:
    probabilities = run.predict(test_split.images)
    assert probabilities.shape == (360, 10)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    accuracy = np.mean(probabilities.argmax(1) == test_split.labels)
    # Another program than the one that evaluated while training: near a tie it may round otherwise.
    assert accuracy == pytest.approx(run.result.test_accuracy, abs=2.5 / 360)
    assert run.config.model.law == "pull"
    assert run.record.origin is not None
    assert "law pull" in run.record.origin.code
    assert {"kernel", "k"} <= set(run.variables["params"]["conv1"])
    assert run.predict(test_split.images[:0]).shape == (0, 10)
    # One channel of grey is three equal ones, and a border makes up for what is missing.
    grey = test_split.images[:2, 12:20, 12:20, 0]
    padded = np.pad(np.repeat(grey[..., None], 3, -1), ((0, 0), (12, 12), (12, 12), (0, 0)))
    np.testing.assert_array_equal(run.predict(grey), run.predict(padded))


def test_a_run_is_loaded_again_and_is_the_same(run: physjax.Run, test_split: Split) -> None:
    again = physjax.load_run(run.path, law=LAW)
    assert again.record == run.record
    jax.tree.map(np.testing.assert_array_equal, again.variables, run.variables)
    # The one may compute three images at once and the other as many as it has before.
    np.testing.assert_allclose(
        again.predict(test_split.images[:3]), run.predict(test_split.images[:3]), rtol=1e-5
    )
    complete = physjax.fit(run.config, law=LAW)
    assert complete.record == run.record
    with pytest.raises(physjax.ConfigError, match="trained with 'pull', and not with 'ring'"):
        physjax.load_run(run.path, law=LAWS["ring"])


def test_a_law_that_is_not_at_hand_is_named(
    run: physjax.Run, monkeypatch: pytest.MonkeyPatch, test_split: Split
) -> None:
    monkeypatch.delitem(LAWS, "pull")
    loaded = physjax.load_run(run.path)
    assert loaded.record.result is not None
    with pytest.raises(physjax.ConfigError, match="no force law 'pull'"):
        loaded.predict(test_split.images[:1])


def test_another_law_of_the_name_is_refused(
    run: physjax.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = physjax.ForceLaw(
        name="pull",
        equation="k[c] y[c-1]",
        source="a test",
        force=lambda params, y: params["k"] * jnp.roll(y, 1, -1),
        init=LAW.init,
    )
    monkeypatch.setitem(LAWS, "pull", LAW)
    with pytest.raises(physjax.UserError, match="law pull"):
        physjax.fit(run.config, law=other)


def test_evaluation(run: physjax.Run, test_split: Split) -> None:
    own = run.evaluate()
    assert isinstance(own, RobustnessRecord)
    given = run.evaluate(test_split.images, test_split.labels)
    assert isinstance(given, ClassificationMetrics)
    assert given.accuracy == own.clean.accuracy
    assert given.confusion == own.clean.confusion
    with pytest.raises(physjax.ConfigError, match="go together"):
        run.evaluate(test_split.images, None)  # type: ignore[call-overload]
    with pytest.raises(physjax.DataError, match="labels go from 0 to 10"):
        run.evaluate(test_split.images[:2], [0, 10])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 40, 40, 3), np.uint8), "larger than the 32x32"),
        (np.zeros((1, 32, 32, 3), np.float32), "must be uint8"),
        (np.zeros((32, 32), np.uint8), r"must be \[N, H, W\]"),
        (np.zeros((1, 32, 32, 4), np.uint8), r"\[N, H, W, 3\]"),
    ],
)
def test_images_that_do_not_fit_are_named(
    run: physjax.Run, images: np.ndarray, message: str
) -> None:
    with pytest.raises(physjax.DataError, match=message):
        run.predict(images)


def test_arrays_of_ones_own_in_a_thread(tmp_path: Path) -> None:
    """A thread has no signals, and its run is like any other."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = (rng.integers(0, 60, (40, 8, 8)) + 150 * labels[:, None, None]).astype(np.uint8)
    dataset = physjax.from_arrays(
        images, labels, images[:20], labels[:20], ["dark", "bright"], name="brightness"
    )
    found: list[physjax.Run] = []
    settings = config(tmp_path).replace(
        data={"train_examples": None}, optim={"batch_size": 20, "epochs": 2}
    )
    thread = threading.Thread(target=lambda: found.append(physjax.fit(settings, dataset)))
    thread.start()
    thread.join(600)
    (run,) = found
    assert run.class_names == ("dark", "bright")
    assert run.result.data.name == "brightness"
    assert run.predict(images[:3]).shape == (3, 2)
    # By the record alone, without the images.
    loaded = physjax.load_run(run.path)
    np.testing.assert_array_equal(loaded.predict(images[:3]), run.predict(images[:3]))
    with pytest.raises(physjax.ConfigError, match="arrays of one's own"):
        loaded.evaluate()
    record = physjax.load_run(run.path, dataset=dataset).evaluate()
    assert record.examples == 20


def test_importing_takes_nothing_along_and_every_name_is_there() -> None:
    code = """
import sys, physjax
heavy = {"jax", "flax", "pandas", "matplotlib", "sklearn", "numpy"} & set(sys.modules)
assert not heavy, heavy
assert set(physjax.__all__) <= set(dir(physjax)), set(physjax.__all__) - set(dir(physjax))
for name in physjax.__all__:
    getattr(physjax, name)
print(physjax.__version__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == physjax.__version__
