"""Configs: round trips, ranges, identity, and the command line over them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physjax.cli import common, options
from physjax.config import (
    RECIPES,
    SETTINGS,
    Config,
    ConfigError,
    differences,
    from_dict,
    identity,
    parse_settings,
    run_name,
    to_dict,
)
from physjax.data import DATASETS
from physjax.errors import UserError
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.optimizers import OPTIMIZERS
from physjax.rules import RULES
from physjax.train import loop
from physjax.train.choices import without_effect


@pytest.mark.parametrize("name", RECIPES)
def test_round_trip_through_json(name: str) -> None:
    config = RECIPES[name]
    assert config.recipe == name
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_unknown_field_is_refused_with_its_place() -> None:
    values = to_dict(Config())
    values["optim"]["learning_speed"] = 3
    with pytest.raises(
        ConfigError, match=r"^config: .*'optim\.learning_speed'.*did you mean 'learning_rate'"
    ):
        from_dict(values)


def test_paper_recipe_is_what_the_authors_ran() -> None:
    paper = RECIPES["paper"]
    assert (paper.model.size, paper.model.norm, paper.model.dropout) == ("imagenet", "none", 0.5)
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
        ("augment", "mixup", -0.1),
        ("augment", "cutmix", -1.0),
        ("augment", "cutmix", float("nan")),
        ("augment", "randaugment", 31),
        ("augment", "randaugment", 9.5),
        ("augment", "randaugment_ops", 0),
        ("run", "seed", -1),
        ("run", "name", "a/b"),
        ("run", "name", ""),
        ("run", "eval_batch_size", 0),
        ("run", "checkpoint_minutes", 0.0),
    ],
)
def test_value_out_of_range_is_named(part: str, field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{part}\.{field} is {value!r}; it must"):
        dataclasses.replace(getattr(Config(), part), **{field: value})
    with pytest.raises(ConfigError, match=rf"^here: {part}\.{field} is {value!r}; it must"):
        from_dict({part: {field: value}}, "here")
    with pytest.raises(ConfigError, match=rf"^{part}\.{field} is {value!r}; it must"):
        Config().set(f"{part}.{field}", value)


def test_short_batches_and_batch_norm_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"--norm none or --drop-remainder"):
        Config().replace(optim={"drop_remainder": False})
    both = Config().replace(optim={"drop_remainder": False}, model={"norm": "none"})
    assert both.model.norm == "none"


def test_identity_leaves_out_what_changes_nothing() -> None:
    one = Config()
    elsewhere = {"name": "x", "runs_dir": "/y", "devices": 2, "tracker": "tensorboard"}
    assert identity(one.replace(run=elsewhere, data={"data_dir": "/z"})) == identity(one)
    assert differences(one, one.set("run.seed", 1)) == ["run.seed: 0 -> 1"]
    assert differences(one, RECIPES["smoke"])[0] == "recipe: 'standard' -> 'smoke'"


def test_a_field_of_before_is_read() -> None:
    """Configs of runs that were made before there was a choice of trackers."""
    old = to_dict(Config())
    del old["run"]["tracker"]
    for switched, tracker in ((False, "none"), (True, "tensorboard")):
        old["run"]["tensorboard"] = switched
        assert from_dict(old) == Config().set("run.tracker", tracker)


def test_a_name_says_what_differs_from_the_recipe_and_nothing_else() -> None:
    """So a field that comes later renames no run: it is at its recipe's value in all of them."""
    assert run_name(Config()) == "physics-auto-standard-seed0"
    smoke = RECIPES["smoke"]
    assert run_name(smoke.set("run.seed", 7)) == "physics-digits-smoke-seed7"
    longer = smoke.replace(optim={"epochs": 3}, model={"law": "ring"})
    # The digest of {"optim.epochs": 3}.
    assert run_name(longer) == "physics-ring-digits-smoke-seed0-8d1bb6"
    assert run_name(longer.set("run.devices", 2)) == run_name(longer)
    assert run_name(longer.set("model.width", 0.25)) != run_name(longer)


def test_the_default_config_is_the_standard_recipe() -> None:
    assert Config() == RECIPES["standard"]
    assert (Config().augment.cutout, Config().model.dropout) == (8, 0.2)
    assert Config().optim.label_smoothing == 0.1


def test_scalars_of_numpy_and_paths_become_pythons() -> None:
    config = Config().replace(
        optim={"epochs": np.int64(3), "learning_rate": np.float32(0.25), "momentum": 0},
        run={"runs_dir": Path("/a/b")},
    )
    assert type(config.optim.epochs) is int
    assert type(config.optim.learning_rate) is float
    assert type(config.optim.momentum) is float
    assert config.run.runs_dir == "/a/b"
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.learning_rate", float("nan"), "must be a finite number"),
        ("optim.learning_rate", float("inf"), "must be"),
        ("optim.weight_decay", 1e308, "must be at most"),
        ("model.interaction_strength", 1e23, "must be at most"),
        pytest.param("optim.epochs", 10**5000, "must be", id="huge"),
        ("optim.epochs", True, "must be a whole number"),
        ("optim.epochs", 2.0, "must be a whole number"),
        ("optim.nesterov", 1, "must be true or false"),
        ("optim.learning_rate", "0.1", "must be a number"),
        ("optim.learning_rate", np.zeros(2), "must be a number"),
        ("run.precision", "bfloat16", "one of float32, bf16"),
        ("model.norm", "Batch", "one of batch, none; did you mean 'batch'"),
        ("model.name", "../evil", "without '/'"),
        ("model.law", "a\0b", "no control characters"),
        ("data.dataset", "x" * 65, "at most 64 bytes"),
        ("run.name", "ä" * 101, "at most 200 bytes"),
        ("run.name", "\ud800", "UTF-8"),
        ("run.name", "lr[0.1]", "none of"),
        ("run.name", "..", "without '/'"),
        ("run.runs_dir", "a\\b", "none of"),
        ("run.runs_dir", "a" * 300, "not as long"),
        ("data.data_dir", "a\nb", "no control characters"),
    ],
)
def test_what_no_field_takes_is_refused_whatever_the_entrance(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} is .*{message}"):
        Config().set(key, value)


def test_a_field_that_does_not_exist_is_named_with_the_nearest() -> None:
    for make in (
        lambda: Config().set("optim.epoch", 3),
        lambda: Config().replace(optim={"epoch": 3}),
        lambda: parse_settings(["optim.epoch=3"]),
    ):
        with pytest.raises(ConfigError, match=r"'optim\.epoch'.*did you mean 'epochs'"):
            make()
    with pytest.raises(ConfigError, match=r"did you mean 'optim\.epochs'"):
        parse_settings(["epochs=3"])
    with pytest.raises(ConfigError, match="did you mean 'optim'"):
        parse_settings(["optm.epochs=3"])
    with pytest.raises(ConfigError, match="'optm'"):
        Config().replace(optm={})


def test_settings_in_text_are_typed_by_their_fields() -> None:
    texts = ["optim.epochs = 4", "optim.nesterov=false", "model.norm=none", "run.name=12"]
    texts += ["data.train_examples=None", 'model.law="ring"', "optim.momentum=0"]
    assert parse_settings(texts) == {
        "optim.epochs": 4,
        "optim.nesterov": False,
        "model.norm": "none",
        "run.name": "12",
        "data.train_examples": None,
        "model.law": "ring",
        "optim.momentum": 0,
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["optim.epochs"], "write it as in optim"),
        (["=3"], "write it as in optim"),
        (["optim.epochs="], "write it as in optim"),
        (["optim.epochs=2.5"], r"^optim\.epochs is 2\.5; it must be a whole number"),
        (["optim.epochs=1979-05-27"], "must be a whole number"),
        (["optim.epochs=3\nx = 4"], "must be a whole number"),
        (["optim.epochs=3", "optim.epochs=3"], r"optim\.epochs is set twice"),
    ],
)
def test_settings_that_cannot_be_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_settings(texts)


def test_every_field_is_an_option_and_a_setting() -> None:
    start = RECIPES["paper"]
    special = {
        "augment.crop": "pad",
        "augment.normalize": "dataset",
        "model.size": "cifar",
        "model.norm": "batch",
        "model.algorithm": "patch",
        "model.activation": "gelu",
        "model.kernel_start": "dirac",
        "model.first_layer": "frozen",
        "model.start_from": "x",
        "optim.schedule": "cosine",
        "rule.update_rule": "coupled",
        "run.precision": "bf16",
        "run.tracker": "mlflow",
        "data.data_dir": "x",
        "data.cache_dir": "y",
        "data.mode": "stream",
        "run.name": "z",
        "data.image_size": 64,
        "data.train_examples": 8,
        "data.test_examples": 10,
        "run.devices": 3,
        "run.sharding": "fsdp",
        "run.plugins": ("x",),
    }
    wanted: dict[str, Any] = {}
    words = ["--recipe", "paper"]
    for key, setting in SETTINGS.items():
        before = setting.get(start)
        by_type = {bool: not before, int: 7, float: 0.25, str: "x"}
        wanted[key] = special.get(key, by_type.get(type(before)))
        assert wanted[key] not in (None, before)
        if isinstance(before, bool):
            words.append(f"--{'no-' if before else ''}{options.flag(key)}")
        else:
            value = wanted[key]
            words += [f"--{options.flag(key)}", value[0] if value == ("x",) else str(value)]
    assert common.parse(words).config == start.set_all(wanted)
    texts = {k: '["x"]' if v == ("x",) else str(v).lower() for k, v in wanted.items()}
    assert start.set_all(parse_settings(f"{k}={v}" for k, v in texts.items())) == (
        start.set_all(wanted)
    )


def test_settings_and_options_of_a_command_line_are_the_same_fields() -> None:
    plain = common.parse(["--epochs", "3", "--width", "0.5", "--name", "x"]).config
    words = ["--set", "optim.epochs=3", "model.width=0.5", "--set", "run.name=x"]
    assert common.parse(words).config == plain
    assert plain == RECIPES["fast"].replace(
        optim={"epochs": 3}, model={"width": 0.5}, run={"name": "x"}
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "3", "--set", "optim.epochs=4"], r"optim\.epochs is set twice"),
        (["--set", "optim.epochs=3", "--set", "optim.epochs=4"], r"optim\.epochs is set twice"),
        (["--epochs", "3", "--epochs", "3"], "--epochs is given twice"),
        (["--nesterov", "--no-nesterov"], "--nesterov is given twice"),
        (["--batch-size=3", "--batch_size", "4"], "--batch-size is given twice"),
        (["--epochs", "0"], r"^optim\.epochs is 0; it must be at least 1"),
        (["--learning-rate", "nan"], r"^optim\.learning_rate is nan"),
        (["--name", "../evil"], r"^run\.name is '\.\./evil'"),
        (["--name", "\udcff"], "must be text that UTF-8 can write"),
    ],
)
def test_a_command_line_that_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        common.parse(words)


def test_help_shows_every_name_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        common.parse(["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", "").split())
    for names in (MODELS, RULES, OPTIMIZERS, DATASETS, ("default", *LAWS)):
        assert ",".join(names) in shown.replace(", ", ",")


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        common.parse(["--learning-speed", "3"])
    assert stop.value.code == 2
    assert "learning-speed" in capsys.readouterr().err


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"'slow'.*fast, standard, speedrun, settling, paper, smoke"
    ):
        common.parse(["--recipe", "slow"])


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise UserError("no such thing; try another")

    assert common.exit_code(lambda: None) == 0
    assert common.exit_code(refuse) == 2
    assert capsys.readouterr().err == "error: no such thing; try another\n"


def test_an_option_that_does_nothing_is_named_with_what_would_have_it() -> None:
    divisive = Config().replace(
        model={"law": "divisive", "interaction_strength": 50.0},
        rule={"gamma": 3.0},
        augment={"crop": "none", "pad": 8},
    )
    assert without_effect(divisive) == [
        "augment.pad is 8, which does nothing: augment.crop is 'none', and has no such option",
        "model.interaction_strength is 50.0, which does nothing: model.law is 'divisive', and has "
        "no such option",
        "rule.gamma is 3.0, which does nothing: learning rule 'backprop' has no setting 'gamma'; "
        "its settings: none",
    ]
    for law in ("ring", "spring"):
        assert without_effect(divisive.set("model.law", law))[1].startswith("rule.gamma")
    coupled = divisive.replace(model={"law": "default"}, rule={"update_rule": "coupled"})
    assert len(without_effect(coupled)) == 1
    assert not any(without_effect(config) for config in RECIPES.values())
    with pytest.raises(ConfigError, match=r"pad is 8, .*; model\.interaction_strength is 50"):
        loop.resolve(divisive)
    with pytest.raises(ConfigError, match=r"pad is 8, .*; model\.interaction_strength is 50"):
        loop.fit(divisive)
