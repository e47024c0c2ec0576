"""The studies in results/: their records, read anew, still give the tables that stand there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from physjax.report import study

STUDIES = sorted((Path(__file__).resolve().parents[2] / "results" / "studies").iterdir())


@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_a_committed_study_gives_the_numbers_it_gave(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / folder.name
    copy.mkdir()
    shutil.copy(folder / "study.toml", copy)
    shutil.copytree(folder / "records", copy / "records")
    monkeypatch.setattr(study, "FIGURES", {})
    written = study.report_study(copy)
    assert {path.name for path in written} == {p.name for p in folder.glob("*.*")} - {"study.toml"}
    for path in written:
        assert path.read_text() == (folder / path.name).read_text(), path.name
