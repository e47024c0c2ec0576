"""A trained run evaluated: clean as its record has it, folded or not, and over several views."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from physjax import data
from physjax.config import RECIPES, Config, ConfigError
from physjax.data import augment
from physjax.evaluate.network import TrainedNetwork
from physjax.evaluate.record import read_robustness
from physjax.evaluate.robustness import evaluate
from physjax.files import Locked
from physjax.nn.physics import GATES
from physjax.records import RecordError, RunFolder, RunRecord
from physjax.report.robustness import report_robustness
from physjax.train.checkpoint_errors import CheckpointError
from physjax.train.ended import restore
from physjax.train.loop import fit
from physjax.train.metrics import classification_metrics
from physjax.train.predict import _move, _views
from physjax.train.setup import TrainSetup

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]


def configure(folder: Path, law: str, rule: str = "backprop") -> Config:
    base = RECIPES["smoke"]
    name = law if rule == "backprop" else f"{law}-{rule}"
    # Resistances far from 1, so that leaving them out would be noticed.
    own = {} if rule == "backprop" else {"gamma": 5.0}
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, name="cnn", law=law, width=0.1),
        optim=dataclasses.replace(base.optim, epochs=4, batch_size=20, ema=0.5),
        run=dataclasses.replace(
            base.run, runs_dir=str(folder), devices=1, name=name, eval_batch_size=150
        ),
        rule=dataclasses.replace(base.rule, update_rule=rule, **own),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, RunRecord]]:
    """Runs whose force can be folded and cannot, without and with resistances."""
    folder = tmp_path_factory.mktemp("runs")
    found = {"ring": (folder / "ring", fit(configure(folder, "ring")))}
    found["own-gate"] = (folder / "own-gate", fit(configure(folder, "own-gate")))
    for law in ("none", "divisive"):
        name = f"{law}-coupled"
        found[name] = (folder / name, fit(configure(folder, law, "coupled")))
    return found


def test_a_run_that_another_process_works_on_is_not_evaluated(
    runs: dict[str, tuple[Path, RunRecord]],
) -> None:
    path, _ = runs["ring"]
    with RunFolder(path).locked(), pytest.raises(Locked, match=r"the run in .* process"):
        evaluate(path, corruptions=())
    assert not (path / "robustness.json").exists()


@pytest.mark.parametrize(
    ("law", "folded"),
    [("ring", True), ("none-coupled", True), ("divisive-coupled", False)],
)
def test_the_clean_accuracy_is_that_of_the_record(
    runs: dict[str, tuple[Path, RunRecord]], law: str, folded: bool
) -> None:
    path, record = runs[law]
    outcome = evaluate(path, corruptions=["shift"], severities=[5])
    assert record.result is not None
    assert outcome.folded is folded
    # Averaged parameters, the last epoch's, and every example once: 360 are 2.4 batches of 150.
    # Another program, which may decide one near tie otherwise.
    one_image = 1 / 360
    assert outcome.clean.accuracy == pytest.approx(
        record.result.test_accuracy, abs=1.01 * one_image
    )
    assert outcome.clean.loss == pytest.approx(record.epochs[-1].test_loss, rel=1e-4)
    moved = np.abs(np.subtract(outcome.clean.confusion, record.result.confusion)).sum()
    assert moved <= 2
    assert outcome.corruptions["shift"][0].accuracy < outcome.clean.accuracy
    assert read_robustness(path) == outcome


def test_table_and_figures(runs: dict[str, tuple[Path, RunRecord]]) -> None:
    path, record = runs["ring"]
    outcome = evaluate(path, corruptions=["blur", "jpeg"], severities=[1, 5])
    written = report_robustness(path)
    figures = ["robustness.png", "calibration.png", "evaluated_confusion.png"]
    assert [p.name for p in written] == ["robustness.md", *figures]
    assert all(p.stat().st_size > 100 for p in written)
    text = written[0].read_text(encoding="utf-8")
    cells = re.sub(" +", " ", text)
    first, last = (100 * s.accuracy for s in outcome.corruptions["blur"])
    assert f"| blur | {first:.2f} (0.4) | {last:.2f} (1.5) | {(first + last) / 2:.2f} |" in cells
    assert "the force is merged into the convolutions" in text
    assert record.result is not None
    hits = np.diag(record.result.confusion) / np.sum(record.result.confusion, 1)
    for digit, hit in enumerate(hits):
        assert f"| {digit} | {hit:.2%} |" in cells


def test_without_corruptions_it_is_one_clean_pass(runs: dict[str, tuple[Path, RunRecord]]) -> None:
    path, _ = runs["divisive-coupled"]
    lines: list[str] = []
    outcome = evaluate(path, log=lines.append)
    assert len(lines) == 1
    assert outcome.corruptions == {}
    names = {p.name for p in report_robustness(path)}
    assert names == {"robustness.md", "calibration.png", "evaluated_confusion.png"}
    assert "corruption" not in (path / "robustness.md").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="there is no corruption 'fog'; they are gaussian noise"):
        evaluate(path, corruptions=["fog"])


def test_a_damaged_record_is_named_with_its_field(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    path, _ = runs["ring"]
    evaluate(path)
    values = json.loads((path / "robustness.json").read_text())
    shutil.copytree(path, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    for broken in (
        {**values, "clean": {**values["clean"], "accuracy": "high"}},
        {**values, "clean": {**values["clean"], "hits": 3}},
    ):
        (tmp_path / "run" / "robustness.json").write_text(json.dumps(broken))
        with pytest.raises(RecordError, match=r"robustness\.json .*\(clean\.(accuracy|hits): "):
            report_robustness(tmp_path / "run")


def test_views_are_what_they_say_and_weigh_one() -> None:
    images = jax.numpy.arange(2 * 5 * 5 * 3).reshape(2, 5, 5, 3)
    views = _views(images, "mirror+shift")
    assert sum(weight for weight, _ in views) == pytest.approx(1)
    assert [weight for weight, _ in views] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    np.testing.assert_array_equal(views[1][1], images[:, :, ::-1])
    up_left = np.asarray(_move(images, -1, -1))
    np.testing.assert_array_equal(up_left[:, :4, :4], images[:, 1:, 1:])
    np.testing.assert_array_equal(up_left[:, 4, :4], images[:, 3, 1:])
    down_right = np.asarray(_move(images, 1, 1))
    np.testing.assert_array_equal(down_right[:, 1:, 1:], images[:, :4, :4])
    assert len(_views(images, "none")) == 1


def test_views_average_probabilities(runs: dict[str, tuple[Path, RunRecord]]) -> None:
    """On data that may be mirrored, an image and its mirror image get the same probabilities."""
    path, record = runs["ring"]
    assert record.result is not None
    config = record.config
    dataset = data.load(config.data)
    info = dataclasses.replace(dataset.info, mirror=True)
    setup = TrainSetup(config, info, len(dataset.train))
    trained = restore(setup, path / "checkpoints", record.result.steps)
    network = TrainedNetwork(setup, trained)
    images = dataset.test.images[:40]
    single = np.exp(network.log_probabilities(images))
    flipped = np.exp(network.log_probabilities(images[:, :, ::-1]))
    double = np.exp(network.log_probabilities(images, "mirror"))
    np.testing.assert_allclose(double, (single + flipped) / 2, atol=1e-6)
    np.testing.assert_allclose(double.sum(1), 1, atol=1e-5)
    assert np.abs(double - single).max() > 1e-3


def test_digits_are_not_mirrored(runs: dict[str, tuple[Path, RunRecord]]) -> None:
    with pytest.raises(ConfigError, match="tta is 'mirror', but scikit-learn digits mirrored"):
        evaluate(runs["ring"][0], tta="mirror")


def test_what_cannot_be_evaluated_is_said(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    path, _ = runs["ring"]
    with pytest.raises(RecordError, match="holds no run"):
        evaluate(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    (copy / "robustness.json").unlink(missing_ok=True)
    with pytest.raises(RecordError, match=r"has not been evaluated: physjax evaluate"):
        report_robustness(copy)

    result = json.loads((copy / "result.json").read_text())
    result["data"]["fingerprint"] = "0" * 64
    (copy / "result.json").write_text(json.dumps(result))
    with pytest.raises(RecordError, match=r"are not those that .* was trained on"):
        evaluate(copy)

    shutil.copy(path / "result.json", copy / "result.json")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="only a run with checkpoints has a model"):
        evaluate(copy)
    (copy / "result.json").unlink()
    with pytest.raises(RecordError, match="has not ended"):
        evaluate(copy)


def test_a_missing_last_checkpoint_is_not_replaced_by_an_older_one(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    path, record = runs["ring"]
    assert record.result is not None
    shutil.copytree(path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / str(record.result.steps))
    with pytest.raises(CheckpointError, match="has no checkpoint of step 40, the run's last"):
        evaluate(tmp_path / "run")


@pytest.mark.slow
def test_the_command_writes_everything_into_the_runs_folder(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    shutil.copytree(runs["ring"][0], tmp_path / "run")
    command = [sys.executable, str(ROOT / "experiments" / "evaluate.py"), str(tmp_path / "run")]
    more = ["--corruptions", "--figure-format", "png", "svg"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy") == 36
    assert (tmp_path / "run" / "figures" / "robustness.svg").exists()
    assert (tmp_path / "run" / "figures" / "robustness.png").exists()
    assert RunFolder(tmp_path / "run").read() == RunFolder(runs["ring"][0]).read()
    refused = subprocess.run(
        [*command, "--tta", "mirror"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "error: tta is 'mirror'" in refused.stderr


def test_the_ring_is_permuted_after_training(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    """Folded or not: every channel keeps its parameters and gets other neighbours."""
    path = shutil.copytree(runs["ring"][0], tmp_path / "ring")
    found = evaluate(path, permuted_rings=2)
    assert [ring.order for ring in found.permuted_rings] == [1, 2]
    assert read_robustness(path) == found
    losses = {found.clean.loss, *(ring.loss for ring in found.permuted_rings)}
    assert len(losses) == 3

    config = RunFolder(path).read_config()
    dataset = data.load(config.data)
    setup = TrainSetup(config.replace(law={"permute": 2}), dataset.info, len(dataset.train))
    result = runs["ring"][1].result
    assert result is not None
    trained = restore(setup, path / "checkpoints", result.steps)
    network = TrainedNetwork(setup, trained, merge=False)
    metrics = classification_metrics(
        network.log_probabilities(dataset.test.images), dataset.test.labels, 10
    )
    assert found.permuted_rings[1].loss == pytest.approx(metrics.loss, rel=1e-4)

    report_robustness(path)
    text = " ".join((path / "robustness.md").read_text(encoding="utf-8").split())
    change = 100 * np.mean([ring.accuracy - found.clean.accuracy for ring in found.permuted_rings])
    shown = f"{change:+.2f}".replace("-", "−")
    assert f"Mean change of accuracy: {shown} percentage points over 2 orders." in text


def test_a_ring_that_is_none_is_not_permuted(runs: dict[str, tuple[Path, RunRecord]]) -> None:
    with pytest.raises(ConfigError, match="'none' knows no neighbours"):
        evaluate(runs["none-coupled"][0], permuted_rings=1)


def test_gates_are_averaged_by_class(
    runs: dict[str, tuple[Path, RunRecord]], tmp_path: Path
) -> None:
    path = shutil.copytree(runs["own-gate"][0], tmp_path / "gated")
    found = evaluate(path, gates=True)
    assert read_robustness(path) == found
    assert list(found.gates) == ["conv1", "conv2", "conv3"]
    config = RunFolder(path).read_config()
    dataset = data.load(config.data)
    result = runs["own-gate"][1].result
    assert result is not None
    setup = TrainSetup(config, dataset.info, len(dataset.train))
    trained = restore(setup, path / "checkpoints", result.steps)
    info, test = dataset.info, dataset.test
    one = test.images[test.labels == 3]
    inputs = augment.preprocess(one, 32, info.mean, info.std, config.augment)
    _, sown = setup.model().apply(trained, inputs, mutable=[GATES])
    expected = np.mean(sown[GATES]["conv2"][GATES], 0)
    assert expected.std() > 0
    np.testing.assert_allclose(found.gates["conv2"][3], expected, rtol=1e-3)  # type: ignore[arg-type]

    assert "gates.png" in {file.name for file in report_robustness(path)}
    with pytest.raises(ConfigError, match="'ring' has no gates to look at"):
        evaluate(runs["ring"][0], gates=True)
