"""Records: written whole or not at all, and read back as they were."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import studies
from physjax.config import Config
from physjax.records import (
    EpochRecord,
    RecordError,
    Result,
    RunFolder,
    best_epoch,
    selection_criterion,
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
    folder.keep_lines(folder.read_lines())
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
    with pytest.raises(RecordError, match=r"config\.json is damaged .*--dry-run prints"):
        RunFolder(tmp_path).read()


def result(epochs: tuple[EpochRecord, ...]) -> Result:
    last = epochs[-1]
    return Result(
        train_accuracy=last.train_accuracy,
        test_accuracy=last.test_accuracy,
        best_test_accuracy=max(e.test_accuracy for e in epochs),
        best_epoch=1,
        selection_criterion="training loss",
        epochs=len(epochs),
        steps=last.step,
        parameters=10,
        wall_seconds=2.0,
        compile_seconds=1.0,
        images_per_second=100.0,
        peak_memory_mib=1.0,
        device=studies.MACHINE,
        versions={},
        data=studies.result(0.5, 0.5).data,
        confusion=[],
    )


CONFIG = dataclasses.replace(Config(), optim=dataclasses.replace(Config().optim, epochs=3))


@pytest.fixture
def ended(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.open(CONFIG)
    for epoch in (1, 2, 3):
        folder.append_epoch(line(epoch))
    folder.write_result(result(folder.read_epochs()))
    return folder


DAMAGED_LINES = {
    "a line lost": lambda lines: [lines[0], lines[2]],
    "a line doubled": lambda lines: [lines[0], lines[0], lines[1], lines[2]],
    "a line cut": lambda lines: [lines[0], lines[1][:20], lines[2]],
    "another value": lambda lines: [*lines[:2], lines[2].replace("0.625", "0.635")],
    "a field of another version": lambda lines: [lines[0].replace("epoch", "era"), *lines[1:]],
    "no number": lambda lines: [lines[0].replace("1.25", "NaN"), *lines[1:]],
    "no object": lambda lines: ["[1]", *lines[1:]],
    "deep": lambda lines: ["[" * 100_000, *lines[1:]],
    "empty": lambda lines: [],
}


@pytest.mark.parametrize("what", DAMAGED_LINES)
def test_metrics_that_do_not_fit_the_result_are_refused(ended: RunFolder, what: str) -> None:
    path = ended.path / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "".join(f"{x}\n" for x in DAMAGED_LINES[what](lines))
    path.write_text(text, encoding="utf-8")
    advice = r"metrics\.jsonl does not agree.*remove result\.json, and the run's command ends"
    with pytest.raises(RecordError, match=advice):
        ended.read()
    (ended.path / "result.json").unlink()
    sound = ended.read().epochs
    assert sound == (line(1), line(2), line(3))[: len(sound)] or what == "another value"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("result.json", "remove result.json, and the run's command ends the run again"),
        ("config.json", "--dry-run prints the config: put it there, or remove the run's folder"),
    ],
)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff", b'{"era": 1}', b"[" * 100_000]
)
def test_advice_costs_no_more_than_it_must(
    ended: RunFolder, name: str, advice: str, content: bytes
) -> None:
    (ended.path / name).write_bytes(content)
    with pytest.raises(RecordError, match=rf"{name}.*{advice}"):
        ended.read()


def test_a_run_without_its_config_is_not_taken_for_something_else(ended: RunFolder) -> None:
    (ended.path / "config.json").unlink()
    with pytest.raises(RecordError, match=r"there is no .*config\.json; .*--dry-run prints"):
        ended.open(CONFIG)


def test_what_kills_leave_blocks_no_folder(tmp_path: Path) -> None:
    """A kill or a full disk while the first file is written."""
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        (folder.path / ".config.json.123.tmp").touch()
        (folder.path / ".physjax-0123456789abcdef.tmp").touch()
        folder.open(CONFIG)
    assert folder.read_config() == CONFIG
    assert not (folder.path / ".physjax-0123456789abcdef.tmp").exists()


def test_best_epoch_never_looks_at_the_test_set() -> None:
    def line(epoch: int, train: float, test: float, validation: float | None) -> EpochRecord:
        return EpochRecord(epoch, epoch, train, 0.5, 1.0, test, 0.1, 1.0, 1.0, 1.0, validation)

    by_loss = [line(1, 2.0, 0.9, None), line(2, 1.0, 0.1, None), line(3, 1.5, 0.5, None)]
    assert best_epoch(by_loss) == by_loss[1]
    assert selection_criterion(by_loss) == "training loss"
    by_validation = [line(1, 1.0, 0.1, 0.7), line(2, 2.0, 0.1, 0.8), line(3, 0.5, 0.9, 0.8)]
    assert best_epoch(by_validation) == by_validation[1]
    assert best_epoch([]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    folder.open(CONFIG)
    for epoch in (1, 2, 3):
        folder.append_epoch(line(epoch))
    folder.write_result(result(folder.read_epochs()))
    return folder


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_no_content_of_a_record_is_a_traceback(whole: RunFolder, data: st.DataObject) -> None:
    """One value of one file is replaced or put beside the others, or a whole line is."""
    names = ["config.json", "metrics.jsonl", "result.json"]
    path = whole.path / data.draw(st.sampled_from(names))
    before = path.read_text(encoding="utf-8")
    lines = before.splitlines() if path.suffix == ".jsonl" else [before]
    number = data.draw(st.integers(0, len(lines) - 1))
    values = json.loads(lines[number])
    part = values
    if path.name == "config.json" and data.draw(st.booleans()):
        part = values[data.draw(st.sampled_from([k for k in values if k != "recipe"]))]
    part[data.draw(st.sampled_from([*part, "more"]))] = data.draw(JSON)
    lines[number] = json.dumps(values if data.draw(st.integers(0, 9)) else data.draw(JSON))
    path.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8")
    try:
        with contextlib.suppress(RecordError):
            whole.read()
    finally:
        path.write_text(before, encoding="utf-8")
    whole.read()
