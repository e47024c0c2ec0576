"""Configs: round trips, ranges, identity, and the command line over them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from physjax import cli
from physjax.config import (
    RECIPES,
    Config,
    ConfigError,
    differences,
    from_dict,
    identity,
    run_name,
    to_dict,
    validate,
)
from physjax.errors import UserError


@pytest.mark.parametrize("name", RECIPES)
def test_round_trip_through_json(name: str) -> None:
    config = RECIPES[name]
    assert config.recipe == name
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert validate(config) is config


def test_unknown_field_is_refused_with_its_place() -> None:
    values = to_dict(Config())
    values["optim"]["learning_speed"] = 3
    with pytest.raises(ConfigError, match=r"config\.optim has no field 'learning_speed'.*momentum"):
        from_dict(values)


def test_paper_recipe_is_what_the_authors_ran() -> None:
    paper = RECIPES["paper"]
    assert (paper.model.size, paper.model.norm, paper.model.dropout) == ("paper", "none", 0.5)
    assert (paper.augment.crop, paper.augment.normalize) == ("resized", "imagenet")
    o = paper.optim
    assert (o.epochs, o.batch_size, o.learning_rate, o.momentum) == (50, 128, 0.01, 0.9)
    assert (o.schedule, o.warmup, o.nesterov) == ("constant", 0.0, False)
    assert (o.weight_decay, o.label_smoothing, o.drop_remainder) == (0.0, 0.0, False)


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("optim", "epochs", 0),
        ("optim", "batch_size", -1),
        ("optim", "learning_rate", 0.0),
        ("optim", "momentum", 1.0),
        ("optim", "warmup", 1.0),
        ("optim", "ema", 1.0),
        ("optim", "label_smoothing", -0.1),
        ("optim", "weight_decay", -1e-9),
        ("optim", "bias_scale", -1.0),
        ("model", "dropout", 1.0),
        ("model", "width", 0.0),
        ("data", "holdout", 1.0),
        ("data", "train_examples", -5),
        ("augment", "pad", -1),
        ("augment", "cutout", -1),
        ("rule", "gamma", -1.0),
        ("rule", "eta", 0.0),
        ("rule", "resistance_min", 0.0),
        ("rule", "resistance_max", 0.5),
        ("run", "seed", -1),
        ("run", "name", "a/b"),
        ("run", "name", ""),
        ("run", "eval_batch_size", 0),
        ("run", "checkpoint_minutes", 0.0),
    ],
)
def test_value_out_of_range_is_named(part: str, field: str, value: object) -> None:
    config = Config()
    broken = dataclasses.replace(getattr(config, part), **{field: value})
    with pytest.raises(ConfigError, match=rf"^{field} is {value!r}; it must"):
        validate(dataclasses.replace(config, **{part: broken}))


def test_short_batches_and_batch_norm_exclude_each_other() -> None:
    config = Config()
    broken = dataclasses.replace(config.optim, drop_remainder=False)
    with pytest.raises(ConfigError, match=r"--norm none or --drop-remainder"):
        validate(dataclasses.replace(config, optim=broken))


def test_identity_leaves_out_what_changes_nothing() -> None:
    one = Config()
    run = dataclasses.replace(one.run, name="x", runs_dir="/y", devices=2, tensorboard=True)
    moved = dataclasses.replace(one.data, data_dir="/z")
    assert identity(dataclasses.replace(one, run=run, data=moved)) == identity(one)
    seeded = dataclasses.replace(one, run=dataclasses.replace(one.run, seed=1))
    assert differences(one, seeded) == ["run.seed: 0 -> 1"]
    assert differences(one, RECIPES["smoke"])[0] == "recipe: 'fast' -> 'smoke'"


def test_a_new_field_changes_no_name_until_it_is_used() -> None:
    """Names as version 0.1 gave them first: the same command finds the same folder."""
    assert run_name(Config()) == "physics-auto-fast-seed0-dae299"
    assert run_name(RECIPES["smoke"]) == "physics-digits-smoke-seed0-315034"
    model = dataclasses.replace(Config().model, auxiliary_weight=0.3)
    assert run_name(dataclasses.replace(Config(), model=model)) != run_name(Config())


def test_every_field_can_be_overridden_from_the_command_line() -> None:
    for part in ("data", "augment", "model", "optim", "rule", "run"):
        for field in dataclasses.fields(getattr(Config(), part)):
            option = "model" if (part, field.name) == ("model", "name") else field.name
            default = getattr(getattr(RECIPES["paper"], part), field.name)
            value, words = {
                bool: (not default, [f"--{'no-' if default else ''}{option.replace('_', '-')}"]),
                int: (7, [f"--{option.replace('_', '-')}", "7"]),
                float: (0.25, [f"--{option.replace('_', '-')}", "0.25"]),
            }.get(type(default), (None, []))
            if value is None:
                continue
            config = cli.parse(["--recipe", "paper", *words]).config
            assert getattr(getattr(config, part), field.name) == value
            assert len(differences(RECIPES["paper"], config)) <= 1


def test_command_line_of_a_config_gives_the_config_back() -> None:
    words = ["--recipe", "paper", "--model", "cnn", "--nesterov", "--law", "ring", "--seed", "3"]
    config = cli.parse(words).config
    assert cli.parse(cli.command_line(config).split()).config == config


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.parse(["--learning-speed", "3"])
    assert stop.value.code == 2
    assert "learning-speed" in capsys.readouterr().err


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'slow'.*fast, paper, smoke"):
        cli.parse(["--recipe", "slow"])


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise UserError("no such thing; try another")

    assert cli.exit_code(lambda: None) == 0
    assert cli.exit_code(refuse) == 2
    assert capsys.readouterr().err == "error: no such thing; try another\n"
