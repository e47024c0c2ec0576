"""Networks that start from given weights: what they take and refuse, and what is remembered."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import physjax
from helpers.exports import OWN
from helpers.runs import assert_same, configure
from physjax import cli
from physjax.config import Config, ConfigError, run_name
from physjax.errors import UserError
from physjax.export import network_of_run
from physjax.export.card import model_card
from physjax.export.safetensors import SAFETENSORS
from physjax.records.provenance import OriginError, strip_machine_paths
from physjax.study.design import Study
from physjax.study.paths import Paths
from physjax.study.runner import run_study
from physjax.study.status import status
from physjax.train.loop import resolve
from physjax.train.setup import TrainSetup
from physjax.train.state import TrainState, init_state, start_state
from physjax.train.weights.given import GivenWeights, find_weights
from physjax.train.weights.match import match
from physjax.train.weights.source import Source, read_source

pytest.importorskip("safetensors", reason="safetensors is missing: install the extra `export`")

pytestmark = pytest.mark.quick_compile


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> physjax.Run:
    """A run of ten steps, with a force and moving averages."""
    folder = tmp_path_factory.mktemp("source")
    return physjax.fit(configure(folder, optim={"epochs": 1, "batch_size": 20, "ema": 0.5}))


@pytest.fixture(scope="module")
def files(source: physjax.Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run, and its exports with the forces folded and as they are."""
    folder = tmp_path_factory.mktemp("files")
    return {
        "run": source.path,
        "folded": source.export("safetensors", folder / "folded.safetensors"),
        "kept": source.export("safetensors", folder / "kept.safetensors", merge=False),
    }


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return physjax.load_dataset(physjax.recipe("smoke").data).test.images[:5]


def setup_of(start_from: Path | None, classes: int = 10, **parts: dict[str, Any]) -> TrainSetup:
    named = None if start_from is None else str(start_from)
    config = resolve(
        configure(
            Path("runs"), **{**parts, "model": {**parts.get("model", {}), "start_from": named}}
        )
    )
    run = physjax.load_dataset(config.data).info
    info = dataclasses.replace(run, num_classes=classes)
    return TrainSetup(config, info, 200, config.run.devices or 1)


def begun(setup: TrainSetup) -> TrainState:
    return init_state(setup, None, given_of(setup).read())


def given_of(setup: TrainSetup) -> GivenWeights:
    return GivenWeights(setup, find_weights(setup.config))


@pytest.mark.parametrize(
    ("kind", "law", "says"),
    [
        ("folded", "ring", "; the parameters of law ring begin at their own start"),
        ("kept", "spring", "; the parameters of law spring begin at their own start"),
        ("run", "ring", ", with the parameters of law ring"),
    ],
)
def test_it_begins_as_the_function_that_was_given(
    kind: str,
    law: str,
    says: str,
    source: physjax.Run,
    files: dict[str, Path],
    images: np.ndarray,
) -> None:
    setup = setup_of(files[kind], model={"law": law})
    state, given = begun(setup), given_of(setup)
    given.read()
    assert str(given).endswith(f": taken: conv1, conv2, conv3, fc1, fc2{says}"), str(given)
    found = network_of_run(setup, state.variables, merge=False).predict(images)
    np.testing.assert_allclose(found, source.portable().predict(images), atol=1e-5)
    # It is no coincidence, nor is it of the last step's parameters where there are their averages.
    assert not np.allclose(
        found, network_of_run(setup, init_state(setup).variables).predict(images)
    )
    if law == "ring" and kind != "folded":
        jax.tree.map(np.testing.assert_array_equal, state.variables, source.variables)


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (
            ("ring", "coupled"),
            ("ring", "coupled"),
            ", with the parameters of law ring, with the parameters of rule coupled",
        ),
        (
            ("ring", "backprop"),
            ("ring", "coupled"),
            ", with the parameters of law ring; the parameters of rule coupled begin at their own "
            "start",
        ),
        (
            ("ring", "coupled"),
            ("ring", "feedback-alignment"),
            "; the parameters of law ring begin at their own start",
        ),
    ],
)
def test_what_a_learning_rule_has_in_every_layer_comes_along(
    before: tuple[str, str], now: tuple[str, str], says: str, images: np.ndarray
) -> None:
    old, new = (
        setup_of(None, model={"law": law}, rule={"update_rule": rule})
        for law, rule in (before, now)
    )
    rng = np.random.default_rng(0)
    trained = jax.tree.map(
        lambda x: np.asarray(x + 0.1 * rng.random(x.shape, np.float32)), init_state(old).variables
    )
    start = match(new, Source(old.config, trained, folded=False), "a")
    assert start.forces.startswith(says)
    if now[1] == "feedback-alignment":
        state = init_state(new, None, start.arrays)
        found, wanted = (
            network_of_run(setup, variables, merge=False).predict(images)
            for setup, variables in ((new, state.variables), (old, trained))
        )
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_rest_of_the_state_belongs_to_the_weights(files: dict[str, Path]) -> None:
    setup = setup_of(files["folded"], optim={"ema": 0.9}, model={"first_layer": "whitened"})
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    state = init_state(setup, images, given_of(setup).read())
    wanted = read_source(files["folded"]).variables
    # Neither whitened again, nor averaged with the initial ones.
    for params in (state.params, state.ema):
        np.testing.assert_array_equal(
            params["conv1"]["kernel"], wanted["params"]["conv1"]["kernel"]
        )
    np.testing.assert_array_equal(
        state.batch_stats["conv2"]["norm"]["var"], wanted["batch_stats"]["conv2"]["norm"]["var"]
    )
    parted = setup_of(files["folded"], model={"width": 0.1}, run={"sharding": "fsdp", "devices": 2})
    on_two = start_state(parted, None, given_of(parted).read())
    np.testing.assert_array_equal(on_two.params["fc1"]["kernel"], state.params["fc1"]["kernel"])
    assert len(on_two.params["fc1"]["kernel"].devices()) == 2


def test_other_classes_get_a_new_last_layer(files: dict[str, Path]) -> None:
    for kind, law in (("folded", "none"), ("kept", "ring")):
        given = given_of(setup_of(files[kind], classes=3, model={"law": law}))
        given.read()
        assert "taken: conv1, conv2, conv3, fc1; new: fc2, for other classes" in str(given)
    setup = setup_of(files["folded"], classes=3)
    state, fresh = begun(setup), init_state(setup)
    assert state.params["fc2"]["kernel"].shape == (state.params["fc1"]["bias"].shape[0], 3)
    jax.tree.map(np.testing.assert_array_equal, state.params["fc2"], fresh.params["fc2"])
    assert not np.array_equal(state.params["fc1"]["kernel"], fresh.params["fc1"]["kernel"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"width": 0.2}, r"model\.width was 0\.1 and is 0\.2; give --set model\.width=0\.1"),
        ({"norm": "none"}, r"model\.norm was 'batch' and is 'none'; give --set model\.norm=batch"),
        (
            {"pool_first": True},
            r"give --set model\.pool_first=false \(it was trained by the recipe",
        ),
        ({"logit_scale": 0.5}, r"model\.logit_scale was 1\.0 and is 0\.5"),
        ({"name": "alexnet"}, r"of the base 'cnn', and not 'alexnet': give --model cnn"),
    ],
)
def test_another_network_is_refused(
    model: dict[str, Any], message: str, files: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=message):
        begun(setup_of(files["folded"], model=model))


def rewritten(path: Path, change: Any) -> Path:
    """The export in `path` with its arrays changed."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    arrays = load_file(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    change(arrays)
    save_file(arrays, path, metadata)
    return path


def test_an_array_that_does_not_fit_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    for change, message in (
        (
            lambda a: a.update({"params.conv2.kernel": np.zeros((3, 3, 3, 7), np.float32)}),
            r"params\.conv2\.kernel has the shape \[3, 3, 3, 7\], and \[3, 3, 4, 6\] here",
        ),
        (
            lambda a: a.pop("params.fc1.bias"),
            r"it has no params\.fc1\.bias, which has the shape \[\d+\] here; set the fields of",
        ),
        (
            lambda a: a.update(
                {"params.fc9.bias": np.zeros(2, np.float32), "params.b.a": a["params.fc1.bias"]}
            ),
            r"its params\.b\.a, of shape \[\d+\], has no place here \(and 1 more\)",
        ),
        # The last layer's other axis.
        (
            lambda a: a.update({"params.fc2.kernel": np.zeros((3, 10), np.float32)}),
            r"its params\.fc2\.kernel has the shape \[3, 10\], and \[\d+, 10\] here",
        ),
    ):
        path = rewritten(shutil.copy(files["folded"], tmp_path / "a"), change)
        with pytest.raises(UserError, match=message):
            begun(setup_of(path))


def test_forces_that_cannot_be_merged_are_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(files["folded"], "np") as file:
        about = json.loads(file.metadata()["physjax"])
    about["config"]["model"]["law"], about["folded"] = "lrn", False
    path = tmp_path / "lrn.safetensors"
    save_file(load_file(files["folded"]), path, {"physjax": json.dumps(about)})
    with pytest.raises(UserError, match=r"of the law 'lrn', cannot be merged .* give --law lrn"):
        begun(setup_of(path))
    assert begun(setup_of(path, model={"law": "lrn"})).params


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Any:
    monkeypatch.chdir(tmp_path)

    def called(*words: object) -> tuple[int, str, str]:
        smallest = ("--recipe", "smoke", "--model", "cnn", "--width", "0.1", "--epochs", "1")
        more = ("--devices", "1", "--name", "run")
        monkeypatch.setattr(sys, "argv", ["physjax train", *smallest, *more, *map(str, words)])
        code = cli.run("train")
        return code, *capsys.readouterr()

    return called


def test_what_is_no_file_of_weights_ends_with_its_name(
    call: Any, tmp_path: Path, files: dict[str, Path]
) -> None:
    whole = files["folded"].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.bin").write_text("weights")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "cut.safetensors": "is no safetensors file, or cut off",
        "text.bin": "is no safetensors file, or cut off",
        "folder": "holds no run",
        "gone.safetensors": "there is no such file or folder to start from",
    }.items():
        code, _, err = call("--start-from", name)
        assert code == 2
        assert name in err
        assert message in err
        assert "Traceback" not in err
        # Nothing is half-written.
        assert not (tmp_path / "runs").exists()


def test_the_file_belongs_to_the_run(
    source: physjax.Run, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run says what it took, refuses another file, and goes on bit for bit without any."""
    weights = tmp_path / "w.safetensors"
    shutil.copy(files["folded"], weights)
    config = configure(tmp_path / "whole", model={"start_from": str(weights)}, optim={"epochs": 2})
    whole = physjax.fit(config)
    mark = find_weights(config)
    assert mark is not None
    told = "".join(capsys.readouterr().out.split())
    assert f"w.safetensors(SHA-256{mark.sha256[:12]}):taken:conv1,conv2" in told
    # They made a difference: but for the averages, the other one is the same run.
    first, other = whole.record.epochs[0], source.record.epochs[0]
    assert first.train_loss != pytest.approx(other.train_loss)

    origin = whole.record.origin
    assert origin is not None
    assert origin.weights == mark
    assert strip_machine_paths(origin).weights == dataclasses.replace(
        mark, source="/".join(weights.parts[-2:])
    )
    card = model_card(whole.portable(), SAFETENSORS, Path("a"))
    assert f"| started from | the weights w.safetensors (`{mark.sha256}`) |" in card
    assert str(tmp_path) not in card

    # One that was stopped after its first epoch.
    stopped = tmp_path / "stopped" / "run"
    shutil.copytree(whole.path, stopped)
    (stopped / "result.json").unlink()
    shutil.rmtree(stopped / "checkpoints" / "20")
    lines = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    (stopped / "metrics.jsonl").write_text(lines[0])
    again = config.set("run.runs_dir", str(tmp_path / "stopped"))

    # Another file under the same name, for the complete and for the stopped run.
    rewritten(weights, lambda arrays: arrays["params.fc1.bias"].fill(1.0))
    now = find_weights(config)
    assert now is not None
    for refused in (config, again):
        with pytest.raises(OriginError) as error:
            physjax.fit(refused)
        assert f"the weights to start from were {mark.sha256[:12]} ({weights})" in str(error.value)
        assert f"are {now.sha256[:12]} ({weights}); put the earlier file back" in str(error.value)

    weights.unlink()
    assert physjax.fit(config).result == whole.result
    physjax.fit(again)
    assert_same(stopped, whole.path)
    # Where nothing was saved it is needed.
    shutil.rmtree(stopped / "checkpoints")
    (stopped / "result.json").unlink()
    with pytest.raises(
        UserError, match=r"w\.safetensors: there is no such file or folder to start"
    ):
        physjax.fit(again)


def test_from_python_a_run_is_started_from_with_images_of_ones_own(
    source: physjax.Run, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(30) % 3
    own = physjax.from_arrays(images, labels, images[:9], labels[:9], ("a", "b", "c"))
    config = configure(
        tmp_path, optim={"epochs": 1, "batch_size": 15}, data={"train_examples": None}
    )
    run = physjax.fit(config, own, start_from=source)
    assert run.config.model.start_from == str(source.path)
    assert run.predict(images[:2]).shape == (2, 3)
    # The run that it came from is looked at as a file is.
    assert run.record.origin is not None
    assert run.record.origin.weights == find_weights(run.config)
    with pytest.raises(UserError, match="holds a run of another config"):
        physjax.fit(config, own)
    gone = source.path.with_name("moved")
    source.path.rename(gone)
    try:
        assert physjax.fit(run.config, own).record.result is not None
    finally:
        gone.rename(source.path)


def test_without_it_names_and_identities_are_what_they_were() -> None:
    plain = physjax.recipe("smoke")
    assert run_name(plain) == "physics-digits-smoke-seed0"
    started = plain.set("model.start_from", "w.safetensors")
    assert run_name(started) != run_name(plain)
    assert run_name(started) != run_name(plain.set("model.start_from", "v.safetensors"))
    assert Config() == Config().replace(model={"start_from": None})
    with pytest.raises(ConfigError, match="start_from"):
        plain.set("model.start_from", "")
    assert OWN.num_classes == 7


def test_an_arm_of_a_study_starts_from_weights(files: dict[str, Path], tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    study = Study(
        models=("cnn",),
        laws=("none",),
        datasets=("digits",),
        seeds=(0,),
        recipe="smoke",
        config={"optim": {"epochs": 1}, "model": {"width": 0.1}, "data": {"train_examples": 80}},
        arms={"pretrained": {"model.start_from": str(weights)}},
    )
    paths = Paths(tmp_path / "results", tmp_path / "runs", None, 1)
    # Before anything is run.
    with pytest.raises(UserError, match=r"w\.safetensors: there is no such file"):
        run_study("mine", study, paths)
    assert not list((tmp_path / "runs").rglob("result.json"))
    shutil.copy(files["folded"], weights)
    records = run_study("mine", study, paths)
    plain, pretrained = records.values()
    assert plain.origin is not None
    assert pretrained.origin is not None
    assert plain.origin.weights is None
    assert pretrained.origin.weights is not None
    assert pretrained.origin.weights.source == "/".join(weights.parts[-2:])
    rewritten(weights, lambda arrays: arrays["params.fc1.bias"].fill(1.0))
    assert [run.state for run in status("mine", study, paths)] == ["done", "changed"]
    with pytest.raises(OriginError, match="the weights to start from were"):
        run_study("mine", study, paths)
    weights.unlink()
    assert [run.state for run in status("mine", study, paths)] == ["done", "done"]


@pytest.mark.slow
def test_weights_of_torchvisions_alexnet_are_started_from(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from physjax.train.weights.torchvision import _SHAPES, NAMES

    rng, arrays = np.random.default_rng(0), {}
    for layer, shape in _SHAPES.items():
        arrays[f"{NAMES[layer]}.weight"] = np.zeros(shape, np.float32)
        arrays[f"{NAMES[layer]}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    save_file(arrays, tmp_path / "alexnet.safetensors")
    config = physjax.recipe("paper").replace(
        model={
            "name": "alexnet",
            "law": "ring",
            "start_from": str(tmp_path / "alexnet.safetensors"),
        }
    )
    setup = TrainSetup(resolve(config.set("data.dataset", "digits")), OWN, 1000)
    given = given_of(setup)
    taken = given.read()
    assert taken is not None
    np.testing.assert_array_equal(taken["params.conv3.bias"], arrays["features.6.bias"])
    assert "params.fc3.kernel" not in taken
    assert "new: fc3, for other classes; the parameters of law ring" in str(given)
