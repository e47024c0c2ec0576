"""Records: written whole or not at all, and read back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from physjax.config import Config
from physjax.records import (
    EpochRecord,
    RecordError,
    RunFolder,
    best_epoch,
    selected_by,
    write_json,
)


def line(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 10 * epoch, 1.5, 0.5, 1.25, 0.625, 0.1, 100.0, 2.0)


def test_epochs_come_back_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open(Config())
    folder.append_epoch(line(1))
    folder.append_epoch(line(2))
    assert folder.read_epochs() == (line(1), line(2))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    assert folder.read_epochs() == (line(1),)
    folder.write_epochs(folder.read_epochs())
    folder.append_epoch(line(2))
    assert folder.read_epochs() == (line(1), line(2))


def test_a_record_of_a_run_that_has_not_ended_has_no_result(tmp_path: Path) -> None:
    RunFolder(tmp_path).open(Config())
    record = RunFolder(tmp_path).read()
    assert (record.config, record.epochs, record.result) == (Config(), (), None)


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.json"
    write_json(path, {"good": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"bad": float("nan")})
    assert path.read_text() == '{\n  "good": 1\n}\n'


def test_errors_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds no run: there is no config\.json"):
        RunFolder(tmp_path).read()
    (tmp_path / "config.json").write_text('{"recipe": ')
    with pytest.raises(RecordError, match=r"config\.json is not valid JSON"):
        RunFolder(tmp_path).read()


def test_best_epoch_never_looks_at_the_test_set() -> None:
    def line(epoch: int, train: float, test: float, validation: float | None) -> EpochRecord:
        return EpochRecord(epoch, epoch, train, 0.5, 1.0, test, 0.1, 1.0, 1.0, 1.0, validation)

    by_loss = [line(1, 2.0, 0.9, None), line(2, 1.0, 0.1, None), line(3, 1.5, 0.5, None)]
    assert best_epoch(by_loss) == by_loss[1]
    assert selected_by(by_loss) == "training loss"
    by_validation = [line(1, 1.0, 0.1, 0.7), line(2, 2.0, 0.1, 0.8), line(3, 0.5, 0.9, 0.8)]
    assert best_epoch(by_validation) == by_validation[1]
    assert best_epoch([]) is None
