"""Trackers: what each of them holds of a run that was stopped and went on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.runs import configure
from helpers.sampling import sampled
from physjax.errors import UserError
from physjax.records import EpochRecord, RunFolder
from physjax.train.callbacks import Callback
from physjax.train.loop import fit
from physjax.train.trackers import TRACKERS
from physjax.train.trackers.tracker import scalars
from physjax.train.trainer import Trainer

pytestmark = pytest.mark.quick_compile


class Stopped(Exception):
    pass


class StopAfterAnEpoch(Callback):
    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        raise Stopped


def stopped_and_resumed(folder: Path, tracker: str) -> dict[int, dict[str, float]]:
    """By step, the figures of a run of two epochs that was stopped after the first one."""
    config = configure(folder, run={"tracker": tracker})
    with pytest.raises(Stopped):
        fit(config, callbacks=[StopAfterAnEpoch()])
    fit(config)
    found = {epoch.step: scalars(epoch) for epoch in RunFolder(folder / "run").read_epochs()}
    assert list(found) == [10, 20]
    assert {"loss/train", "accuracy/test", "force_rms/conv1"} <= found[20].keys()
    return found


def of_tensorboard(run: Path) -> dict[int, dict[str, float]]:
    from tensorboardX.proto.event_pb2 import Event

    found: dict[int, dict[str, float]] = {}
    for path in sorted((run / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            # Length, its checksum, the event, and its checksum.
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            for value in event.summary.value:
                found.setdefault(event.step, {})[value.tag] = value.simple_value
    return found


def log_entries(data: bytes) -> Iterator[bytes]:
    """Of a file in LevelDB's log format, behind a header of 7 bytes."""
    at, block, entry = 7, 32_768, b""
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        entry += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


def of_wandb(run: Path) -> dict[int, dict[str, float]]:
    """Of the files that `wandb sync` sends."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[int, dict[str, float]] = {}
    paths = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    assert len(paths) == 2
    assert len({path.name for path in paths}) == 1  # one run, in two sessions
    for path in paths:
        for data in log_entries(path.read_bytes()):
            record = Record.FromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            items = {item.key or item.nested_key[0]: item for item in record.history.item}
            values = {k: json.loads(v.value_json) for k, v in items.items() if k[0] != "_"}
            found.setdefault(record.history.step.num, {}).update(values)
    return found


def of_mlflow(run: Path) -> dict[int, dict[str, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("physjax")
    assert experiment is not None
    (one,) = client.search_runs([experiment.experiment_id])
    assert one.info.run_name == "run"
    assert one.info.status == "FINISHED"
    assert one.data.params["model.name"] == "cnn"
    found: dict[int, dict[str, float]] = {}
    for name in one.data.metrics:
        for metric in client.get_metric_history(one.info.run_id, name):
            assert name not in found.setdefault(metric.step, {})
            found[metric.step][name] = metric.value
    return found


READERS: dict[str, Callable[[Path], dict[int, dict[str, float]]]] = {
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "mlflow": of_mlflow,
}


# What the packages warn of is theirs.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", sampled(TRACKERS, "tensorboard"))
def test_a_tracker_holds_every_epoch_of_a_run_that_went_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(TRACKERS[name].package, reason=f"install the extra `{name}`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    wanted = stopped_and_resumed(tmp_path, name)
    found = READERS[name](tmp_path / "run")
    assert found.keys() == wanted.keys()
    for step, figures in wanted.items():
        assert found[step] == pytest.approx(figures, rel=1e-6)


def test_a_package_that_is_missing_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRACKERS["wandb"], "package", "no_such_package")
    with pytest.raises(UserError, match=r"--tracker wandb needs .* 'physjax\[wandb\]'"):
        fit(configure(tmp_path, run={"tracker": "wandb"}))
