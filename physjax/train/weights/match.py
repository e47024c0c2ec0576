"""Given weights laid over a network's initial ones: what is taken, what stays new, what is refused.

A network for other classes has another last layer, which starts anew, and forces that the weights
do not have start as their law says. Whatever else does not fit is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from physjax.models import Classifier, get_spec, init_variables
from physjax.nn.fold import fold, foldable
from physjax.train.choices import chosen_law, chosen_rule
from physjax.train.setup import TrainSetup
from physjax.train.weights.errors import WeightsError
from physjax.train.weights.names import flat
from physjax.train.weights.source import Source

Shapes = dict[str, tuple[int, ...]]

_ALIKE = ("size", "width", "norm", "norm_scale", "activation", "pool_first")
"""Fields of `ModelConfig` without which the same arrays make another function."""
_NAMED = 12
"""So many layers are named one by one."""


@dataclass(frozen=True, eq=False)
class Start:
    """What a network starts with, in place of its initial variables."""

    arrays: dict[str, npt.NDArray[np.float32]]
    """By their names with dots. What is not among them stays as it is."""
    taken: tuple[str, ...]
    """Layers whose arrays are all given, or all but those of a force or a learning rule."""
    new: tuple[str, ...]
    """Layers for other classes, which start anew."""
    forces: str
    """What becomes of the parameters of law and rule, in words; "" where they have none."""

    def __str__(self) -> str:
        news = f"; new: {_listed(self.new)}, for other classes" if self.new else ""
        return f"taken: {_listed(self.taken)}{news}{self.forces}"


def match(setup: TrainSetup, source: Source, name: str) -> Start:
    """What `setup`'s network takes of `source`.

    Args:
      setup: of the run that starts.
      source: the weights.
      name: of the file or folder, for messages.

    Raises:
      WeightsError: they are of another network; the first array or field is named.
    """
    # Shapes do not depend on the devices.
    setup = dataclasses.replace(setup, shards=1)
    _check_network(setup, source, name)
    found = {
        key: np.asarray(x, np.float32) for key, x in flat(_as_here(setup, source, name)).items()
    }
    wanted, classes = _shapes(setup, setup.model()), setup.info.num_classes
    other = dataclasses.replace(setup.info, num_classes=classes + 1)
    more = _shapes(setup, dataclasses.replace(setup, info=other).model())
    plain = _shapes(setup, setup.model(folded=True))
    problems = [
        f"it has no {key}, which has the shape {list(shape)} here"
        for key, shape in wanted.items()
        if key not in found and key in plain
    ]
    problems += [
        f"its {key}, of shape {list(array.shape)}, has no place here"
        for key, array in found.items()
        if key not in wanted
    ]
    arrays, new = {}, []
    for key in [key for key in wanted if key in found]:
        if found[key].shape == wanted[key]:
            arrays[key] = found[key]
        elif _for_other_classes(found[key].shape, wanted[key], more[key]):
            new.append(key)
        else:
            problems.append(
                f"its {key} has the shape {list(found[key].shape)}, and {list(wanted[key])} here"
            )
    if problems:
        rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise WeightsError(
            f"{name} holds another network: {problems[0]}{rest}; set the fields of [model] as its "
            f"run had them, or leave --start-from out{_was(source)}"
        )
    if not arrays:
        raise WeightsError(f"{name} holds nothing that this network can start from")
    if not new:
        _check_fields(setup, source, name, ("logit_scale",))
    heads = tuple(dict.fromkeys(_layer(key) for key in new))
    taken = tuple(dict.fromkeys(_layer(key) for key in arrays if key in plain))
    own = [key for key in wanted if key not in plain]
    return Start(arrays, taken, heads, _forces(setup, own, arrays))


def _forces(setup: TrainSetup, own: list[str], arrays: Mapping[str, Any]) -> str:
    """What is said of parameters that a plain network does not have."""
    of_rule = set(setup.rule.connection.params or ())
    whose = {f"law {setup.law.name}": False, f"rule {setup.rule.name}": True}
    said = []
    for name, is_rule in whose.items():
        names = [key for key in own if (key.rpartition(".")[2] in of_rule) == is_rule]
        if names and all(key in arrays for key in names):
            said.append(f", with the parameters of {name}")
        elif names:
            said.append(f"; the parameters of {name} begin at their own start")
    return "".join(said)


def _check_network(setup: TrainSetup, source: Source, name: str) -> None:
    """Raise WeightsError where the base or what surrounds its arrays is another one."""
    here, there = setup.config.model, source.config.model
    base = get_spec(there).alias_of or there.name
    if base != here.name:
        raise WeightsError(
            f"{name} holds a network of the base {base!r}, and not {here.name!r}: give --model "
            f"{base}, or leave --start-from out"
        )
    _check_fields(setup, source, name, _ALIKE)
    if bool(here.auxiliary_weight) != bool(there.auxiliary_weight):
        _check_fields(setup, source, name, ("auxiliary_weight",))


def _check_fields(setup: TrainSetup, source: Source, name: str, fields: Iterable[str]) -> None:
    here, there = setup.config.model, source.config.model
    differing = [key for key in fields if getattr(here, key) != getattr(there, key)]
    if differing:
        which = ", ".join(
            f"model.{key} was {getattr(there, key)!r} and is {getattr(here, key)!r}"
            for key in differing
        )
        words = " ".join(f"--set model.{key}={_word(getattr(there, key))}" for key in differing)
        raise WeightsError(
            f"{name} holds weights of another network: {which}; give {words}{_was(source)}"
        )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _was(source: Source) -> str:
    return f" (it was trained by the recipe {source.config.recipe})"


def _as_here(setup: TrainSetup, source: Source, name: str) -> Mapping[str, Any]:
    """The variables with forces, where law and rule are those here, and else with them merged."""
    if source.folded:
        return source.variables
    law, rule = chosen_law(source.config), chosen_rule(source.config)
    own = rule.connection.params
    same_rule = not own or rule == setup.rule
    if same_rule and (law.name == "none" or law == setup.law):
        return source.variables
    if not foldable(law):
        raise WeightsError(
            f"the forces of {name}, of the law {law.name!r}, cannot be merged into its kernels and "
            f"biases: give --law {law.name}, with the settings that it had"
        )
    return fold(source.variables, law, rule.connection)


def _shapes(setup: TrainSetup, model: Classifier) -> Shapes:
    """Of a network's variables, by their names."""
    start = partial(init_variables, model, size=setup.image_size)
    return {
        key: tuple(leaf.shape)
        for key, leaf in flat(jax.eval_shape(start, jax.random.key(0))).items()
    }


def _for_other_classes(
    found: tuple[int, ...], wanted: tuple[int, ...], more: tuple[int, ...]
) -> bool:
    """Whether two shapes differ in what depends on the number of classes alone.

    Args:
      found: of the array given.
      wanted: of the one here.
      more: of the one here, were there a class more.
    """
    return len(found) == len(wanted) and all(
        a == b or b != c for a, b, c in zip(found, wanted, more, strict=True)
    )


def _layer(key: str) -> str:
    """The layer that an array belongs to: `conv1` of `params.conv1.norm.bias`."""
    path = key.split(".")[1:-1]
    return ".".join(path[:-1] if path[-1] == "norm" and len(path) > 1 else path)


def _listed(layers: tuple[str, ...]) -> str:
    return ", ".join(layers) if len(layers) <= _NAMED else f"{len(layers)} layers"
