"""The grid of a study: from options or TOML to runs, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import studies
from physjax.config import ConfigError, differences
from physjax.grid import Cell, Study, from_options, parse_setting, plan, read_toml, to_toml


def test_the_plan_has_every_run_once_and_whole_pairs_first() -> None:
    grid = studies.study(models=("cnn", "alexnet"), datasets=("digits", "mnist"), seeds=(0, 7))
    runs = list(plan(grid))
    assert len(runs) == len(set(runs)) == 16
    assert [cell.name for cell in runs[:3]] == [
        "cnn-none-digits-seed0",
        "cnn-ring-digits-seed0",
        "alexnet-none-digits-seed0",
    ]
    assert {cell.seed for cell in runs[:8]} == {0}


def test_arms_of_a_pair_differ_in_what_they_are_about_and_in_nothing_else() -> None:
    grid = studies.study(
        seeds=(3,),
        config={"optim": {"epochs": 5}},
        arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}},
    )
    plain, ring, scaled = plan(grid).values()
    keys = [line.split(":")[0] for line in differences(plain, ring)]
    assert keys == ["model.law"]
    assert differences(plain, scaled) == ["optim.bias_scale: 1.0 -> 16.0"]
    assert (plain.model.law, ring.model.law) == ("none", "ring")
    assert {c.run.seed for c in (plain, ring, scaled)} == {3}
    assert {c.optim.epochs for c in (plain, ring, scaled)} == {5}


def test_a_models_own_fields_stand_above_those_of_all_and_an_arms_above_both() -> None:
    grid = studies.study(
        models=("cnn", "alexnet"),
        laws=("none",),
        seeds=(0,),
        config={"optim": {"learning_rate": 0.1}},
        by_model={"cnn": {"optim": {"learning_rate": 0.2}}},
        arms={"fast": {"optim": {"learning_rate": 0.4}, "model": {"law": "ring"}}},
    )
    rates = {(c.model, c.arm): (x.optim.learning_rate, x.model.law) for c, x in plan(grid).items()}
    assert rates == {
        ("cnn", "none"): (0.2, "none"),
        ("cnn", "fast"): (0.4, "ring"),
        ("alexnet", "none"): (0.1, "none"),
        ("alexnet", "fast"): (0.4, "ring"),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ()}, "no models"),
        ({"seeds": (0, 0)}, "seeds names one twice: 0, 0"),
        ({"recipe": "haste"}, r"no recipe 'haste'; they are fast, paper, smoke"),
        ({"laws": ("default",)}, "a law is named"),
        ({"datasets": ("auto",)}, "'auto', which may mean something else"),
        ({"arms": {"ring": {}}}, "'ring' is an arm and among the laws"),
        ({"arms": {"a/b": {}}}, "called 'a/b'"),
        ({"by_model": {"vgg11": {}}}, "by_model has 'vgg11'"),
        ({"config": {"optimiser": {}}}, "config has 'optimiser'; the parts of a config are data"),
        ({"config": {"optim": 3}}, "config.optim is 3; name a field"),
        ({"config": {"optim": {"epoch": 3}}}, r"optim\.epoch, which no config has; there are epo"),
        ({"config": {"optim": {"epochs": 2.5}}}, r"config\.optim\.epochs is 2.5; it must be int"),
        ({"config": {"optim": {"epochs": True}}}, "it must be int"),
        ({"config": {"model": {"norm": "bath"}}}, "'bath'; it must be one of batch, none"),
        ({"config": {"optim": {"epochs": 0}}}, "epochs is 0; it must be positive"),
        ({"config": {"model": {"law": "ring"}}}, r"sets model\.law: it is an axis of the grid"),
        ({"config": {"run": {"seed": 3}}}, r"sets run\.seed: it is an axis"),
        ({"config": {"data": {"data_dir": "x"}}}, "give --data-dir"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(studies.study(**changes))


def test_a_whole_number_does_for_a_real_one_and_an_absent_one_for_none() -> None:
    grid = studies.study(config={"optim": {"momentum": 0}, "data": {"train_examples": 50}})
    config = next(iter(plan(grid).values()))
    assert isinstance(config.optim.momentum, float)
    assert config.data.train_examples == 50


NAMES = st.lists(st.sampled_from(["a", "b-c", 'd"e', "f\\g", "ü"]), min_size=1, unique=True)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    models=NAMES,
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True),
    rate=st.floats(1e-30, 1e30),
    mirror=st.booleans(),
)
def test_toml_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    models: list[str],
    seeds: list[int],
    rate: float,
    mirror: bool,
) -> None:
    grid = Study(
        models=tuple(models),
        laws=("none", "ring"),
        datasets=("digits",),
        seeds=tuple(seeds),
        recipe="smoke",
        config={"optim": {"learning_rate": rate}, "augment": {"mirror": mirror}},
        arms={"scaled-bias": {"optim": {"bias_scale": rate}}},
    )
    path = tmp_path_factory.mktemp("toml") / "study.toml"
    path.write_text(to_toml(grid))
    assert read_toml(path) == grid


def test_a_small_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(
        """
        models = ["cnn"]
        laws = ["none"]
        datasets = ["digits"]
        seeds = 2

        [config]
        optim.epochs = 3

        [by_model.cnn.model]
        width = 0.5

        [arms.two]
        model.law = "ring"
        model.interaction_strength = 1
        """
    )
    grid = read_toml(path)
    assert grid.seeds == (0, 1)
    assert grid.recipe == "fast"
    config = plan(grid)[Cell("cnn", "two", "digits", 1)]
    assert (config.optim.epochs, config.model.width) == (3, 0.5)
    assert (config.model.law, config.model.interaction_strength) == ("ring", 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = ", r"g\.toml is not valid TOML"),
        ('model = ["cnn"]', r"g\.toml: there is no 'model' in a study; it has arms"),
        ('models = "cnn"', "models is 'cnn'; it must be a list of names"),
        ('models = ["cnn"]\nseeds = "3"', "seeds is '3'; it must be a number"),
        ('models = ["cnn"]\nconfig = 3', "config is 3; it must be a table"),
        ('models = ["cnn"]', r"g\.toml: the grid has no laws"),
    ],
)
def test_toml_that_is_no_study_is_refused_with_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "g.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_toml(tmp_path / "g.toml")


def test_no_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*h\.toml"):
        read_toml(tmp_path / "h.toml")


def test_options_give_the_grid_that_a_file_would() -> None:
    grid = from_options(
        ["cnn"],
        ["none", "ring"],
        ["digits"],
        3,
        "smoke",
        ["optim.epochs=4", "optim.nesterov=false", "model.norm=none", "model.width=0.5"],
        bias_scale=16.0,
    )
    assert grid == studies.study(
        config={
            "optim": {"epochs": 4, "nesterov": False},
            "model": {"norm": "none", "width": 0.5},
        },
        arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}},
    )


@pytest.mark.parametrize("text", ["optim.epochs", "epochs=3", "=3", ".epochs=3", "optim.=3"])
def test_a_setting_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write it as in optim"):
        parse_setting(text)


def test_seeds_are_those_of_the_grid() -> None:
    grid = dataclasses.replace(studies.study(), seeds=(5, 2))
    assert [c.seed for c in plan(grid)] == [5, 5, 2, 2]
