"""Plug-ins: the examples of docs/plugins.md train and load again; what cannot be is named."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import docs, studies
from helpers.plugins import forget
from helpers.steps import configure
from physjax.cli import common, options
from physjax.cli import study as study_command
from physjax.config import ConfigError
from physjax.evaluate.robustness import evaluate
from physjax.forces import LAWS, get_law
from physjax.records.provenance import OriginError
from physjax.study.design import plan
from physjax.study.files import read_toml, to_toml
from physjax.study.folder import StudyFolder
from physjax.study.status import validate
from physjax.train import plugins
from physjax.train.loop import fit, resolve
from physjax.train.plugins import load_plugins

pytestmark = pytest.mark.quick_compile

LAW, RULE, OPTIMIZER, BASE, DATA = docs.blocks("docs/plugins.md")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules = set(sys.modules)
    yield
    forget()
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and "pytest" in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_one_file_adds_a_law_a_rule_an_optimiser_a_base_and_a_data_set(tmp_path: Path) -> None:
    """They train, and the run is gone on with and evaluated without a word about the plug-ins."""
    texts = {"ex_law.py": LAW, "ex_rule.py": RULE, "ex_optimizer.py": OPTIMIZER}
    texts |= {"ex_base.py": BASE, "ex_data.py": DATA}
    names = tuple(write(tmp_path, name, text) for name, text in texts.items())
    config = configure(
        model={"name": "narrow", "law": "push", "width": 1.0},
        law={"by": 2},
        rule={"update_rule": "scaled-sign", "scale": 0.01},
        data={"dataset": "stripes", "train_examples": None},
        optim={"epochs": 1, "optimizer": "lion", "learning_rate": 0.001},
        optimizer={"beta": 0.95},
        run={"plugins": names, "runs_dir": str(tmp_path), "name": "run"},
    )
    record = fit(config)
    assert record.result is not None
    assert set(record.result.law_parameters["conv"]) == {"pull"}
    assert record.result.data.title == "Stripes"
    origin = json.loads((tmp_path / "run" / "origin.json").read_text())
    assert set(origin["plugins"]) == set(names)

    forget()
    assert not {"push"} & set(LAWS)
    evaluate(tmp_path / "run", log=lambda line: None)
    assert fit(config) == record

    forget()
    write(tmp_path, "ex_law.py", LAW + "\n# Another comment.\n")
    evaluate(tmp_path / "run", log=lambda line: None)
    forget()
    (tmp_path / "moved").mkdir()
    for name in texts:
        (tmp_path / name).rename(tmp_path / "moved" / name)
    with pytest.raises(ConfigError, match=r"ex_law\.py: there is no such file"):
        evaluate(tmp_path / "run", log=lambda line: None)
    moved = [str(tmp_path / "moved" / name) for name in texts]
    evaluate(tmp_path / "run", plugins=moved, log=lambda line: None)
    for name in texts:
        (tmp_path / "moved" / name).rename(tmp_path / name)

    forget()
    write(tmp_path, "ex_law.py", LAW.replace("-by", "by"))
    with pytest.raises(OriginError, match=r"the code of law push \(ex_law\)"):
        evaluate(tmp_path / "run", log=lambda line: None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("import nothing_of_this_name", r"No module named 'nothing_of_this_name'"),
        ("1 / 0", "fails: ZeroDivisionError"),
        ("def f(:", "fails: SyntaxError"),
        ("x = 1", "holds no ForceLaw, LearningRule, Optimizer, ModelSpec or DatasetSpec"),
        (LAW.replace('"push"', '"ring"'), "there is a force law 'ring' already"),
        (LAW.replace("] = 1", "]"), "'by' has no default"),
    ],
)
def test_a_plug_in_that_cannot_be_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = str(tmp_path / "bad_plugin.py")
    if text is not None:
        write(tmp_path, "bad_plugin.py", text)
    with pytest.raises(ConfigError, match=f"^plug-in {re.escape(path)}.*{message}"):
        resolve(configure(run={"plugins": (path,)}))


def test_a_plug_in_that_was_mended_is_loaded_by_the_same_process(tmp_path: Path) -> None:
    """Of the one that was refused nothing stays, not even what was sound in it."""
    taken = LAW.replace('"push"', '"ring"').replace("PUSH", "ZZZ")
    path = write(tmp_path, "mended_plugin.py", LAW + taken)
    with pytest.raises(ConfigError, match="there is a force law 'ring' already"):
        plugins.load_plugins([path])
    assert "push" not in LAWS
    write(tmp_path, "mended_plugin.py", LAW)
    plugins.load_plugins([path])
    assert "push" in LAWS
    before = plugins.plugin_hashes([path])
    write(tmp_path, "mended_plugin.py", LAW + "# a later edit\n")
    # What was imported counts, not what the file says by now.
    assert plugins.plugin_hashes([path]) == before


def test_a_file_that_is_called_like_another_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another module 'random' already"):
        load_plugins([write(tmp_path, "random.py", LAW)])
    with pytest.raises(ConfigError, match=r"^plug-in no\.such\.module: No module named 'no'"):
        load_plugins(["no.such.module"])


def test_a_module_that_gathers_files_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "ex_inner.py", LAW)
    load_plugins([write(tmp_path, "ex_outer.py", "from ex_inner import PUSH")])
    assert get_law("push").settings["by"].default == 1
    del sys.modules["ex_inner"]


def test_commands_and_grids_name_plug_ins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--plugin", "a.py", "--plugin", "b.c"]
    assert common.parse(words).config.run.plugins == ("a.py", "b.c")
    more = ["--models", "cnn", "--laws", "none", "push", "--datasets", "digits", "--seeds", "1"]
    command = options.parse(study_command.Command, [*words, *more])
    study = study_command.find_grid(command, StudyFolder(tmp_path))
    assert {config.run.plugins for config in plan(study).values()} == {("a.py", "b.c")}
    (tmp_path / "g.toml").write_text(to_toml(study))
    assert read_toml(tmp_path / "g.toml") == study
    assert "plugins" not in to_toml(study_command.from_options(["cnn"], ["none"], ["x"], 1, "fast"))
    with pytest.raises(SystemExit):
        common.parse(["--plugin", write(tmp_path, "ex_help.py", LAW), "--law", "push", "--help"])
    assert "--law.by (a whole number >= 1; default 1): channels" in capsys.readouterr().out


def test_a_study_checks_names_of_plug_ins_before_it_runs(tmp_path: Path) -> None:
    names = tuple(write(tmp_path, f"ex_{n}.py", t) for n, t in (("law", LAW), ("data", DATA)))
    study = studies.study(laws=("none", "push"), datasets=("stripes",), plugins=names)
    assert len(validate(study)) == 6
    with pytest.raises(ConfigError, match=r"run\.plugins: they are named above the grid"):
        plan(studies.study(config={"run": {"plugins": list(names)}}))


def announce(folder: Path, module: str, text: str) -> None:
    """Install a package of one module, which it announces."""
    write(folder, f"{module}.py", text)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[physjax.plugins]\nlab = {module}\n")


def test_what_an_installed_package_announces_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(tmp_path, "ex_installed", LAW)
    monkeypatch.syspath_prepend(tmp_path)
    entries: Any = importlib.metadata.entry_points(group="physjax.plugins")
    assert [entry.value for entry in entries] == ["ex_installed"]
    assert "push" not in LAWS
    assert get_law("push").name == "push"
    del LAWS["push"], sys.modules["ex_installed"]


def test_an_installed_package_that_fails_hides_neither_a_typo_nor_another_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("ex_installed", LAW), ("ex_broken", "1 / 0")):
        (tmp_path / name).mkdir()
        announce(tmp_path / name, name, text)
        monkeypatch.syspath_prepend(tmp_path / name)
    entries: Any = importlib.metadata.entry_points(group="physjax.plugins")
    assert [entry.value for entry in entries] == ["ex_broken", "ex_installed"]
    with pytest.raises(ConfigError) as refused:
        get_law("rign")
    assert str(refused.value) == (
        f"there is no force law 'rign'; there are {', '.join(LAWS)}; did you mean 'ring'?; the "
        "installed plug-in ex_broken fails: ZeroDivisionError: division by zero"
    )
    assert [*LAWS][-1] == "push"
    del LAWS["push"]
    assert get_law("push").name == "push"
    del LAWS["push"], sys.modules["ex_installed"]
