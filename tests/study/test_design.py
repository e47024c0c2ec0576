"""The grid of a study: from options or TOML to runs, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import studies
from physjax.config import ConfigError, differences
from physjax.study.controls import control_of, controls_of
from physjax.study.design import Cell, Study, plan
from physjax.study.files import from_options, read_toml, to_toml


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
        ({"seeds": (-1,)}, r"seeds\.0 is -1; it must be at least 0"),
        ({"models": ("../evil",)}, r"models\.0 is '\.\./evil'"),
        (
            {"recipe": "haste"},
            r"no recipe 'haste'; there are fast, standard, speedrun, settling, paper, smoke",
        ),
        ({"laws": ("default",)}, "a law is named"),
        ({"datasets": ("auto",)}, "'auto', which may mean something else"),
        ({"arms": {"ring": {}}}, "'ring' is an arm and among the laws"),
        ({"arms": {"a.b": {}}}, "called 'a.b'"),
        ({"arms": {"a": {"model": {"law": "default"}}}}, "name a law"),
        ({"by_model": {"vgg11": {}}}, "by_model has 'vgg11'"),
        ({"config": {"optimiser": {"x": 1}}}, "config: .*'optimiser'.*did you mean 'optimizer'"),
        ({"config": {"optim": 3}}, "config.optim is 3; name a field"),
        ({"config": {"optim": {"epoch": 3}}}, r"config: .*'optim\.epoch'.*did you mean 'epochs'"),
        ({"config": {"optim": {"epochs": 2.5}}}, r"config\.optim\.epochs is 2.5; it must be a who"),
        ({"config": {"optim": {"epochs": True}}}, "it must be a whole number"),
        ({"config": {"optim": {"epochs": 1}, "optim.epochs": 1}}, r"sets optim\.epochs twice"),
        ({"config": {"model": {"norm": "bath"}}}, "'bath'; it must be one of batch, none"),
        ({"config": {"optim": {"epochs": 0}}}, "epochs is 0; it must be at least 1"),
        ({"config": {"model": {"law": "ring"}}}, r"sets model\.law: it is an axis of the grid"),
        ({"config": {"run": {"seed": 3}}}, r"sets run\.seed: it is an axis"),
        ({"config": {"data": {"data_dir": "x"}}}, "give --data-dir"),
        ({"config": {"optim": {"drop_remainder": False}}}, r"seed0'.*short, padded"),
        ({"axes": {"optim.momentum": 0.9}}, r"axes\.optim\.momentum is 0.9; it must be a list"),
        ({"axes": {"optim.momentum": []}}, "must be a list of values"),
        ({"axes": {"optim.momentum": [0.9, 0.9]}}, "names a value twice"),
        (
            {"axes": {"optim.momentum": [0.9, 2.0]}},
            r"axes\.optim\.momentum is 2.0; it must be less",
        ),
        ({"axes": {"optim.speed": [1]}}, r"axes: .*'optim\.speed'"),
        ({"axes": {"run.seed": [1]}}, "it is an axis of the grid"),
        ({"axes": {"law.length": [1, "\0"]}}, r"axes\.law\.length is .*no control characters"),
        ({"config": {"law.a b": 1}}, r"config: 'law\.a b' names no setting"),
        (
            {"axes": {"optim.epochs": [1]}, "config": {"optim": {"epochs": 2}}},
            r"optim\.epochs is swept by axes and set by config",
        ),
        ({"axes": {"optim.epochs": [*range(1, 200)]}, "seeds": tuple(range(300))}, "fit into a"),
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


NAMES = st.lists(st.sampled_from(["a", "b-c", "d'e", 'f"g', "ü"]), min_size=1, unique=True)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    models=NAMES,
    arm=st.sampled_from(["scaled-bias", "größer", "三"]),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True),
    rate=st.floats(1e-30, 1e6),
    mirror=st.booleans(),
    momenta=st.lists(st.floats(0, 0.99), min_size=1, max_size=3, unique=True),
)
def test_toml_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    models: list[str],
    arm: str,
    seeds: list[int],
    rate: float,
    mirror: bool,
    momenta: list[float],
) -> None:
    grid = Study(
        models=tuple(models),
        laws=("none", "ring"),
        datasets=("digits",),
        seeds=tuple(seeds),
        recipe="smoke",
        config={"optim": {"learning_rate": rate}, "augment": {"mirror": mirror}},
        arms={arm: {"optim": {"bias_scale": rate}}, "same": {}},
        axes={"optim.momentum": momenta},
    )
    path = tmp_path_factory.mktemp("toml") / "study.toml"
    path.write_text(to_toml(grid), encoding="utf-8")
    assert read_toml(path) == grid


def test_axes_give_every_arm_once_with_each_value() -> None:
    grid = studies.study(
        seeds=(0,),
        arms={"scaled-bias": {"optim": {"bias_scale": 16.0}}},
        axes={"optim": {"momentum": [0.8, 0.9]}, "model.interaction_strength": [1, 2]},
    )
    runs = plan(grid)
    assert grid.arm_names == tuple(cell.arm for cell in runs)
    # The strength of a law that is none says nothing: one run does for both values.
    assert grid.arm_names == (
        "none@momentum=0.8",
        "none@momentum=0.9",
        "ring@momentum=0.8@interaction_strength=1",
        "ring@momentum=0.8@interaction_strength=2",
        "ring@momentum=0.9@interaction_strength=1",
        "ring@momentum=0.9@interaction_strength=2",
        "scaled-bias@momentum=0.8",
        "scaled-bias@momentum=0.9",
    )
    values = [(c.optim.momentum, c.model.interaction_strength) for c in runs.values()]
    assert values[2:6] == [(0.8, 1.0), (0.8, 2.0), (0.9, 1.0), (0.9, 2.0)]
    controls = [control_of(cell, runs) for cell in runs]
    assert [c and c.arm.partition("@")[2] for c in controls] == [
        *(None, None),
        *("momentum=0.8", "momentum=0.8", "momentum=0.9", "momentum=0.9"),
        *("momentum=0.8", "momentum=0.9"),
    ]
    assert {c.arm.partition("@")[0] for c in controls if c} == {"none"}


def test_each_arm_has_the_control_that_differs_in_what_it_is_about() -> None:
    grid = studies.study(
        models=("cnn", "alexnet"),
        seeds=(0, 1),
        arms={
            "slow": {"optim": {"learning_rate": 0.01}},
            "ring-slow": {"optim": {"learning_rate": 0.01}, "model": {"law": "ring"}},
            "ring-weak": {"model": {"law": "ring", "interaction_strength": 0.5}},
            "ring-fast": {"optim": {"learning_rate": 0.5}, "model": {"law": "ring"}},
            "coupled": {"rule": {"update_rule": "coupled", "gamma": 0.1}},
            "ring-coupled": {
                "model": {"law": "ring"},
                "rule": {"update_rule": "coupled", "gamma": 0.1},
            },
        },
    )
    runs = plan(grid)
    expected = {
        "none": None,
        "ring": "none",
        "slow": "none",
        "ring-slow": "slow",
        "ring-weak": "none",
        # The study has no run without a law at that learning rate: better none than a wrong one.
        "ring-fast": None,
        "coupled": "none",
        "ring-coupled": "coupled",
    }
    for cell in runs:
        control = control_of(cell, runs)
        name = expected[cell.arm]
        assert control == (None if name is None else dataclasses.replace(cell, arm=name))


def test_an_arm_with_a_law_is_also_compared_with_a_plain_one_whose_biases_learn_faster() -> None:
    grid = studies.study(
        models=("cnn", "alexnet"),
        seeds=(0, 1),
        arms={
            "scaled-bias": {"optim": {"bias_scale": 16.0}},
            "slow": {"optim": {"learning_rate": 0.01}},
            "slow-scaled": {"optim": {"learning_rate": 0.01, "bias_scale": 16.0}},
            "ring-slow": {"optim": {"learning_rate": 0.01}, "model": {"law": "ring"}},
            "ring-scaled": {"optim": {"bias_scale": 16.0}, "model": {"law": "ring"}},
            "coupled": {"rule": {"update_rule": "coupled", "gamma": 0.1}},
        },
    )
    runs = plan(grid)
    expected: dict[str, tuple[str, ...]] = {
        "none": (),
        "ring": ("none", "scaled-bias"),
        "scaled-bias": ("none",),
        "slow": ("none",),
        "slow-scaled": ("none",),
        "ring-slow": ("slow", "slow-scaled"),
        # Its control is what the others have beside theirs.
        "ring-scaled": ("scaled-bias",),
        "coupled": ("none",),
    }
    for cell in runs:
        wanted = tuple(dataclasses.replace(cell, arm=arm) for arm in expected[cell.arm])
        assert controls_of(cell, runs) == wanted


def test_a_laws_setting_is_swept_in_the_arms_with_a_law(tmp_path: Path) -> None:
    grid = studies.study(
        laws=("none", "divisive"),
        seeds=(0,),
        config={"law.reach": 2},
        axes={"law": {"length": [1, 2.5]}},
    )
    runs = plan(grid)
    assert grid.arm_names == ("none", "divisive@length=1", "divisive@length=2.5")
    assert [c.law.own for c in runs.values()] == [
        {"reach": 2},
        {"reach": 2, "length": 1},
        {"reach": 2, "length": 2.5},
    ]
    # The control has no law, and so none of its settings.
    plain, *others = runs
    assert [control_of(cell, runs) for cell in others] == [plain, plain]
    (tmp_path / "g.toml").write_text(to_toml(grid), encoding="utf-8")
    assert plan(read_toml(tmp_path / "g.toml")) == runs


def test_a_rules_setting_is_swept_and_its_control_has_none() -> None:
    grid = studies.study(
        laws=("none",),
        seeds=(0,),
        arms={"coupled": {"rule.update_rule": "coupled"}},
        axes={"rule.gamma": [0.1, 0.2]},
    )
    runs = plan(grid)
    assert [(c.arm, x.rule.own) for c, x in runs.items()] == [
        ("none@gamma=0.1", {"gamma": 0.1}),
        ("none@gamma=0.2", {"gamma": 0.2}),
        ("coupled@gamma=0.1", {"gamma": 0.1}),
        ("coupled@gamma=0.2", {"gamma": 0.2}),
    ]
    controls = [control_of(cell, runs) for cell in list(runs)[2:]]
    assert [c and c.arm for c in controls] == ["none@gamma=0.1", "none@gamma=0.2"]


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
        ('model = ["cnn"]', r"g\.toml: there is no field 'model'.*did you mean 'models'"),
        ('models = "cnn"', r"g\.toml: models is 'cnn'; it must be a list"),
        ('models = ["cnn", 3]', r"g\.toml: models\.1 is 3; it must be text"),
        ('models = ["cnn"]\nseeds = "3"', "seeds is '3'; it must be a list"),
        ('models = ["cnn"]\nseeds = 0', "seeds is 0; name how many"),
        ('models = ["cnn"]\nconfig = 3', "config is 3; it must be a table"),
        ('models = ["cnn"]\nrecipe = 1979-05-27', r"g\.toml: .*1979.* is a date or time"),
        (f"seeds = {'9' * 5000}", r"g\.toml is not valid TOML"),
        (f"seeds = {'[' * 5000}", r"g\.toml is not valid TOML"),
        ('models = ["cnn"]', r"g\.toml: the grid has no laws"),
    ],
)
def test_toml_that_is_no_study_is_refused_with_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "g.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_toml(tmp_path / "g.toml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_bytes(b'models = ["\xff"]')
    with pytest.raises(ConfigError, match=r"g\.toml is not UTF-8 \(at byte 11\)"):
        read_toml(tmp_path / "g.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_toml(tmp_path)


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


def test_options_that_set_a_field_twice_or_to_nothing_are_refused() -> None:
    def made(*texts: str, seeds: int = 1) -> Study:
        return from_options(["cnn"], ["none"], ["digits"], seeds, "smoke", texts)

    with pytest.raises(ConfigError, match=r"optim\.epochs is set twice"):
        made("optim.epochs=1", "optim.epochs=2")
    with pytest.raises(ConfigError, match="seeds is 0"):
        made(seeds=0)
    with pytest.raises(ConfigError, match=r"train_examples is None, which a TOML file cannot hold"):
        to_toml(made("data.train_examples=None"))


def test_seeds_are_those_of_the_grid() -> None:
    grid = dataclasses.replace(studies.study(), seeds=(5, 2))
    assert [c.seed for c in plan(grid)] == [5, 5, 2, 2]
