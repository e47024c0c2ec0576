"""Settings of laws and rules: from every entrance into the run, equal where they mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import Field

from helpers.steps import configure
from physjax.cli import common
from physjax.config import RECIPES, Config, ConfigError, differences, from_dict, run_name, to_dict
from physjax.forces import LAWS, ForceLaw
from physjax.forces.neighborhood import exponential_weights
from physjax.nn.physics import PhysicsLayer
from physjax.records import RunFolder
from physjax.report.titles import run_title
from physjax.rules import RULES
from physjax.train.choices import chosen_law, chosen_rule, resolve_choices
from physjax.train.loop import fit, resolve
from physjax.train.origin import current_origin

pytestmark = pytest.mark.quick_compile

DIVISIVE = Config().replace(model={"name": "cnn", "law": "divisive"})
LONG = DIVISIVE.set("law.length", 4)


def test_a_laws_setting_changes_its_force_and_nothing_else() -> None:
    y = jnp.zeros(16).at[0].set(1.0).at[5].set(3.0)
    params = {"exponents": jnp.zeros(16).at[0].set(2.0)}
    law = LAWS["divisive"].configured({"length": 4.0, "reach": 5})
    weights = exponential_weights(4.0, 5)
    np.testing.assert_allclose(law(params, y)[0], (1 + weights[0] + weights[5] * 9) ** -2 - 1)
    assert law == LAWS["divisive"].configured({"reach": 5, "length": 4})
    assert LAWS["divisive"].configured({"length": 2.0}) == LAWS["divisive"]
    assert {law.name: [*law.settings] for law in LAWS.values()} == {
        "none": [],
        "ring": ["permute"],
        "spring": ["permute"],
        "divisive": ["length", "reach", "permute"],
        "lrn": ["neighbors", "k", "alpha", "beta", "permute"],
        "ring-gate": ["standardize", "gain", "radius", "per_channel", "permute"],
        "own-gate": ["standardize", "gain", "per_channel"],
        "energy-gate": ["kappa", "radius", "per_channel", "permute"],
        "se": ["reduction"],
        "miller": ["reach", "length", "alpha", "beta", "k", "permute"],
        "square": [],
    }
    assert list(RULES["coupled"].settings) == ["gamma", "eta", "resistance_min", "resistance_max"]


def test_every_entrance_gives_the_same_config(tmp_path: Path) -> None:
    words = ["--recipe", "standard", "--model", "cnn", "--law", "divisive"]
    for more in (
        ["--law.length", "4"],
        ["--law.length=4.0"],
        ["--set", "law.length=4"],
    ):
        assert common.parse([*words, *more]).config == LONG
    assert DIVISIVE.replace(law={"length": 4}) == LONG
    assert LONG.law.own == {"length": 4.0}
    assert LONG.replace(law={"reach": 2}).law.own == {"length": 4, "reach": 2}
    assert from_dict(json.loads(json.dumps(to_dict(LONG)))) == LONG
    assert to_dict(LONG)["law"] == {"length": 4}
    both = common.parse(["--update-rule", "coupled", "--rule.gamma", "0.5", "--optim.epochs", "3"])
    assert to_dict(both.config)["rule"] == {"update_rule": "coupled", "gamma": 0.5}
    assert both.config.optim.epochs == 3
    assert hash(LONG) == hash(DIVISIVE.set("law.length", 4.0))


def test_equal_runs_are_equal_whatever_is_spelled_out() -> None:
    plain = resolve_choices(DIVISIVE)
    spelled = resolve_choices(DIVISIVE.replace(law={"length": 2, "reach": 4}))
    assert spelled == plain
    assert run_name(spelled) == run_name(plain) == "cnn-divisive-auto-standard-seed0"
    four = resolve_choices(LONG)
    assert type(four.law.own["length"]) is float
    assert run_name(four) != run_name(plain)
    assert differences(plain, four) == ["law.length: its default -> 4.0"]
    assert chosen_law(four).settings["length"].default == 4.0
    coupled = Config().replace(rule={"update_rule": "coupled", "gamma": 1})
    assert resolve_choices(coupled).rule.own == {"gamma": 1.0}
    assert chosen_rule(coupled).settings["gamma"].default == 1.0


def test_configs_written_before_laws_had_settings_say_the_same() -> None:
    values = to_dict(RECIPES["standard"])
    del values["law"]
    before = {"gamma": 1e-3, "eta": 1.0, "resistance_min": 0.1, "resistance_max": 10.0}
    values["rule"] |= before
    assert from_dict(values) == RECIPES["standard"]
    values["rule"] |= {"update_rule": "coupled", "gamma": 0.01}
    expected = RECIPES["standard"].replace(rule={"update_rule": "coupled", "gamma": 0.01})
    assert from_dict(values) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"law.lenght": 3.0}, r"law\.lenght is 3\.0, which .*'divisive' has no.*mean 'length'"),
        ({"law.length": 0}, r"^law\.length is 0; it must be greater than 0"),
        ({"law.length": True}, r"^law\.length is True; it must be a number"),
        ({"law.reach": 2.5}, r"^law\.reach is 2\.5; it must be a whole number"),
        ({"rule.gamma": 0.1}, r"rule\.gamma is 0\.1.*'backprop' has no setting 'gamma'.*: none"),
        (
            {"rule.update_rule": "coupled", "rule.resistance_max": 0.5},
            r"^rule\.resistance_max is 0\.5; it must be at least 1",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    config = DIVISIVE.set_all(changes)
    with pytest.raises(ConfigError, match=message):
        resolve_choices(config)
    with pytest.raises(ConfigError, match=message):
        fit(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("law.length", float("nan"), r"^law\.length is nan; it must be a finite number"),
        ("law.length", None, r"^law\.length is None; it must be"),
        ("law.length", [1], r"^law\.length is \[1\]; it must be"),
        ("law.length", 10**400, r"^law\.length is 1000.*; it must be"),
        ("law.a-b", 1, "it must be a name of letters"),
        ("law.own", 1, "must be a table"),
        ("rule.x", "a\0b", r"^rule\.x is .*no control characters"),
    ],
)
def test_what_no_law_could_take_is_refused_at_once(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config().set(key, value)
    part, _, name = key.partition(".")
    with pytest.raises(ConfigError):
        from_dict({part: {name: value}, "law": {name: value}} if value == value else {part: 3})


def test_settings_of_other_laws_are_let_be_in_a_study() -> None:
    config = DIVISIVE.replace(model={"law": "ring"}, law={"length": 4}, rule={"gamma": 1})
    resolved = resolve_choices(config, in_study=True)
    assert resolved == DIVISIVE.replace(model={"law": "ring"})
    assert chosen_law(config) == LAWS["ring"]


def test_help_lists_the_settings_of_a_law_and_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--law", "divisive", "--update-rule", "coupled", "--help"]
    with pytest.raises(SystemExit):
        common.parse(words)
    shown = capsys.readouterr().out
    assert "--law.length (a number > 0, <= 1000; default 2.0)" in shown
    assert "--rule.gamma (a number >= 0" in shown


def _push(params: Any, y: Any, *, by: Annotated[int, Field(ge=1)] = 1, flip: bool = False) -> Any:
    return params["k"] * jnp.roll(y, -by if flip else by, -1)


def _start(channels: int, *, by: int) -> dict[str, np.ndarray]:
    return {"k": np.zeros(channels * by, np.float32)[:channels]}


PUSH = ForceLaw("push", "k[c] y[c-by]", "a test", _push, _start, form="linear")


def test_a_law_of_ones_own_with_settings_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parameters multiply values of any shape as they are, and its settings are recorded."""
    monkeypatch.setitem(LAWS, "push", PUSH)
    layer = PhysicsLayer(4, law=PUSH.configured({"by": 2}), algorithm="direct")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 3, 2)), jnp.float32)
    pushed = {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.arange(4.0), "k": jnp.ones(4)}
    plain = PhysicsLayer(4, law="none", algorithm="direct").apply({"params": pushed}, x)
    expected = plain + jnp.roll(plain, 2, -1)
    np.testing.assert_allclose(layer.apply({"params": pushed}, x), expected, rtol=1e-5)

    parts = {"model": {"law": "push"}, "optim": {"epochs": 1}, "data": {"train_examples": 80}}
    config = configure(law={"by": 2, "flip": False}, run={"runs_dir": str(tmp_path)}, **parts)
    record = fit(config)
    assert record.config.law.own == {"by": 2}
    assert record.result is not None
    assert set(record.result.law_parameters["conv1"]) == {"k"}
    assert run_title(record.config, record.result.data).startswith(
        "cnn with push (by 2) on scikit-learn digits"
    )
    folder = RunFolder(tmp_path / run_name(record.config))
    assert folder.read_config() == record.config
    # The same run, spelled out otherwise, is complete already; another one is another run.
    assert fit(config.set("law.flip", False)) == record
    with pytest.raises(ConfigError, match=r"law\.by is 0"):
        fit(config.set("law.by", 0))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"name": "physics"}, {"name": "alexnet", "law": "ring"}),
        ({"name": "physics", "law": "none"}, {"name": "alexnet"}),
        ({"name": "cnn"}, {"name": "cnn", "law": "none"}),
    ],
)
def test_two_names_of_one_run_are_one_run(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (resolve(RECIPES["smoke"].replace(model=model)) for model in (one, other))
    assert first == second
    assert run_name(first) == run_name(second)
    assert current_origin(first).code == current_origin(second).code
    # The code is the same, whichever name was asked for.
    unresolved = RECIPES["smoke"].replace(model=one)
    assert current_origin(unresolved).code == current_origin(first).code
