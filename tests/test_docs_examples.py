"""Every block of Python and every command of the documentation, as it stands there.

Each block of Python is run by a test: by one of this file, or by the one that `RUN_BY` names. Each
command is parsed by the command's own parser; what is cheap is done, over one small run, and what
is not says why in `ONLY_PARSED`.
"""

from __future__ import annotations

import importlib
import io
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import physjax
from helpers import docs
from helpers.plugins import forget
from physjax import cli
from physjax.cli import COMMANDS, common, options
from physjax.config import Config
from physjax.data.images import read_images
from physjax.evaluate.inspection import ensure_inspected

pytestmark = pytest.mark.quick_compile

HERE = "tests/test_docs_examples.py"
RUN_BY = {
    "README.md": (
        f"{HERE}::test_the_first_look_from_python",
        "tests/test_docs.py::test_the_laws_that_the_docs_add",
    ),
    "docs/data.md": ("tests/data/test_arrays.py::test_the_example_of_the_docs",),
    "docs/export.md": (
        f"{HERE}::test_an_export_is_read_as_its_page_says",
        f"{HERE}::test_an_export_is_read_as_its_page_says",
        f"{HERE}::test_images_are_made_as_the_page_says",
        "tests/export/test_torch.py::test_pretrained_weights_with_torchvisions_start_are_taken_in",
    ),
    "docs/laws.md": (
        "tests/test_docs.py::test_the_division_that_starts_as_in_the_literature",
        "tests/test_docs.py::test_the_derivative_along_a_direction",
        "tests/test_docs.py::test_the_laws_that_the_docs_add",
    ),
    "docs/models.md": ("tests/test_docs.py::test_the_base_that_the_docs_add",),
    "docs/plugins.md": 5
    * (
        "tests/train/test_plugins.py::"
        "test_one_file_adds_a_law_a_rule_an_optimiser_a_base_and_a_data_set",
    ),
    "docs/python.md": 2 * ("tests/test_docs.py::test_the_notebook_of_the_docs",),
    "docs/resistive.md": (
        "tests/test_docs.py::test_the_network_of_resistors_that_the_docs_train",
        "tests/test_docs.py::test_the_layers_of_resistors_that_the_docs_train",
    ),
    "docs/rules.md": ("tests/test_docs.py::test_the_rule_that_the_docs_add",),
    "docs/studies.md": ("tests/report/test_study_report.py::test_the_figure_that_the_docs_add",),
    "docs/training_step.md": ("tests/test_docs.py::test_the_numbers_of_the_training_step",),
}
"""By page: the test that runs each block of Python."""

ONLY_PARSED = {
    "physjax export alexnet.pth --from torch --to safetensors onnx --class-names imagenet.txt": (
        "tests/export/test_torch.py takes weights in; these are 240 MB"
    ),
    "physjax predict alexnet.safetensors cat.jpg": (
        "tests/export/test_exports.py predicts with a file; this one is 240 MB"
    ),
    "physjax evaluate runs/mine --corruptions": "a slow test of tests/evaluate does it",
    "physjax evaluate runs/mine --relaxation": "tests/evaluate/test_relaxation.py does it",
    "physjax evaluate runs/clamped --relaxation": "the same; it needs a run that settles",
    "physjax prepare --dataset cifar10": "it downloads 170 MB",
    "physjax prepare --dataset fashion_mnist": "it downloads 30 MB",
    "physjax prepare --dataset cifar10 --archive cifar-10-python.tar.gz": "it takes 170 MB",
    "physjax prepare --archive cifar-10-binary.tar.gz": "it takes 170 MB",
    "physjax study --name laws_screening --power": "it needs the records of hours of training",
    "physjax study --grid experiments/studies/laws_confirmation.toml": "so does this",
}
"""Commands that are parsed and not done, and why. Of `train` and `study` no run is made at all:
`--dry-run` resolves what they ask for."""

MENTIONS = {
    "physjax evaluate --permute-ring": "the option alone",
    "physjax evaluate RUN --plugin": "the option alone",
}
"""Text in the form of a command that is none, and why: its options exist, but that is all."""

FOREIGN = {"--signal", "--test-only", "--requeue", "--ntasks-per-node", "--gpus-per-task"}
FOREIGN |= {"--cpus-per-task", "--kills"}
"""Options of SLURM, and of the tests' own script."""

STANDS_FOR = {
    "NAME": "fast",
    "RUN": "runs/mine",
    "RUNS...": "runs/mine",
    "runs/...": "runs/mine",
    "IMAGE...": "cat.jpg",
    "I/N": "1/2",
}
"""What a reader puts in the place of a word in capitals."""


PAGES = [name for name in docs.NAMES if name != "CHANGELOG.md"]
"""Without the one that speaks of what was."""


def commands() -> list[str]:
    """Every command of every page, once, without those that are a mere name."""
    found: dict[str, None] = {}
    for page in PAGES:
        for line in [*docs.displayed(page), *docs.inline(page)]:
            parsed = docs.command(line)
            if parsed is not None and parsed[0] in COMMANDS and parsed[1]:
                found[" ".join(["physjax", parsed[0], *parsed[1]])] = None
    # Those that stand for the same once.
    by_words = {" ".join(words_of(line)): line for line in found if line not in MENTIONS}
    return list(by_words.values())


def words_of(line: str) -> list[str]:
    return [STANDS_FOR.get(word, word) for word in line.split()[1:]]


ALL = commands()


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def first_look() -> physjax.Run:
    """The run of README's Python, of seconds in the place of minutes."""
    code = docs.blocks("README.md")[0]
    small = {
        'recipe("fast")': 'recipe("smoke")',
        '{"name": "resnet18"}': '{"name": "cnn", "width": 0.1}, data={"train_examples": 80}, '
        'run={"devices": 1}',
        '{"epochs": 3}': '{"epochs": 1}',
    }
    for written, shorter in small.items():
        assert written in code
        code = code.replace(written, shorter)
    space: dict[str, Any] = {"images": IMAGES}
    exec(code, space)
    assert isinstance(space["run"], physjax.Run)
    return space["run"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages speak of: runs, a study, images, a plug-in, a grid."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        first_look().path.rename("runs/mine")
    # Before it is copied, so that the copies need not be looked into again.
    ensure_inspected(folder / "runs" / "mine")
    for name in ("one", "two", "pets"):
        shutil.copytree(folder / "runs" / "mine", folder / "runs" / name)
    (folder / "results" / "studies").mkdir(parents=True)
    study = "results/studies/alexnet_cifar10"
    shutil.copytree(docs.ROOT / study, folder / study)
    (folder / "experiments").symlink_to(docs.ROOT / "experiments")
    rng = np.random.default_rng(0)
    pictures = ["cat.jpg", "holiday/a.png", "more/b.png", "pets/cat/a.png", "pets/dog/b.png"]
    for name in pictures:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    (folder / "CIFAR-10-C").mkdir()
    for name, array in {"fog": np.tile(IMAGES, (5, 1, 1, 1)), "labels": np.zeros(15, int)}.items():
        np.save(folder / "CIFAR-10-C" / f"{name}.npy", array)
    law = docs.blocks("docs/plugins.md")[0]
    (folder / "my_laws.py").write_text(law, encoding="utf-8")
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "laws.py").write_text(law, encoding="utf-8")
    (folder / "push.toml").write_text(docs.blocks("docs/studies.md", "toml")[1], encoding="utf-8")
    # `--update-rule sign` is the rule that its page adds to the package.
    rules: dict[str, Any] = {"__name__": __name__}
    exec(docs.blocks("docs/rules.md")[0], rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(physjax.RULES, "sign", rules["SIGN"])
        yield folder


@pytest.fixture
def inside(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The process in that folder, and no plug-in loaded after."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(sys, "path", [str(world), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield world
    forget()
    for name in [name for name in sys.modules if name.startswith("my_lab")]:
        del sys.modules[name]


def test_every_block_of_python_is_run_by_a_test() -> None:
    counted = {page: len(docs.blocks(page)) for page in PAGES if docs.blocks(page)}
    assert counted == {page: len(tests) for page, tests in RUN_BY.items()}
    for test in {test for tests in RUN_BY.values() for test in tests}:
        path, _, name = test.partition("::")
        text = (docs.ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), test


def test_python_is_shown_in_fences_that_name_it() -> None:
    """What is only indented nobody would run."""
    for page in PAGES:
        for line in docs.displayed(page):
            assert not re.match(r"(import|from) \w|\w+ = physjax\.", line), (page, line)


def test_the_first_look_from_python(world: Path) -> None:
    run = physjax.load_run(world / "runs" / "mine")
    assert run.config.model.law == "spring"
    assert run.predict(IMAGES).shape == (3, 10)


def test_an_export_is_read_as_its_page_says(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is missing: install the extra `test`")
    monkeypatch.chdir(world)
    run = physjax.load_run("runs/mine")
    for code, to in zip(docs.blocks("docs/export.md"), ("stablehlo", "onnx"), strict=False):
        run.export(to)
        space: dict[str, Any] = {"images": IMAGES}
        exec(code, space)
        np.testing.assert_allclose(space["logits"], run.portable().predict(IMAGES), atol=1e-4)


def test_images_are_made_as_the_page_says(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    (code,) = [block for block in docs.blocks("docs/export.md") if "ImageOps" in block]
    space: dict[str, Any] = {}
    exec(code, space)
    wanted = read_images(["cat.jpg", "holiday/a.png"], (32, 32, 3), 32)
    np.testing.assert_array_equal(space["images"], wanted)


def test_tables_of_commands_name_those_there_are() -> None:
    assert ALL, "no command was found"
    assert not set(ONLY_PARSED) - set(ALL)
    for page in PAGES:
        for line in docs.displayed(page):
            parsed = docs.command(line)
            assert parsed is None or parsed[0] in COMMANDS, line
            assert line not in MENTIONS, "what is displayed by itself can be copied and run"
        for line in docs.inline(page):
            named = re.match(r"physjax ([a-z]+)", line)
            assert named is None or named[1] in COMMANDS, line


def parse(name: str, words: list[str]) -> Any:
    if name == "train":
        return common.parse(words)
    return options.parse(importlib.import_module(f"physjax.cli.{name}").Command, words)


@pytest.mark.parametrize("line", ALL)
def test_a_command_does_what_the_page_shows(
    line: str, inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *words = words_of(line)
    if "--help" in words:
        words = [word if word != "fast" else "ring" for word in words]
        with pytest.raises(SystemExit, match="0"):
            parse(name, words)
        return
    asked = parse(name, words)
    for option in ("grid", "config"):
        grid = getattr(asked, option, None)
        assert grid is None or isinstance(grid, Config) or Path(grid).is_file(), grid
    if name == "resistive":
        # Every option in range; the tables of its page come from the whole command.
        command = importlib.import_module("physjax.cli.resistive")
        layered = asked.preset.network != "graph"
        (command.resolve_layered if layered else command.resolve)(asked.preset)
        return
    if line in ONLY_PARSED:
        return
    if name in ("train", "study"):
        words += [] if {"--dry-run", "--summary"} & {*words} else ["--dry-run"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"cat.jpg\n"), "utf-8"))
    monkeypatch.setattr(sys, "argv", [f"physjax {name}", *words])
    code = cli.run(name)
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), said.err
    assert said.out


def test_options_that_are_named_in_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = {*FOREIGN, "--version", "--print-completion", "--help", "--help-verbose"}
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            parse(name, ["--help-verbose" if name == "train" else "--help"])
        known |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    for page in PAGES:
        if page == "benchmarks/README.md":
            # Of scripts with options of their own; tests/test_benchmarks.py runs those.
            continue
        for code in docs.inline(page):
            for option in re.findall(r"(?:^|(?<=[\s`]))--[a-z][a-z-]*(?![\w.-])", code):
                # --no-mirror is the other side of --mirror.
                assert option in known or f"--{option[5:]}" in known, (page, code)
