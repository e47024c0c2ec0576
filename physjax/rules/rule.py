"""What a learning rule is: it turns a network and a batch into updates of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
from flax import struct

from physjax.config import Keyword, bind, checked, keywords
from physjax.nn.connection import PLAIN, Connection
from physjax.rules.chain import Activation, Chain, Tree, cut

if TYPE_CHECKING:
    from physjax.rules.settling import Relaxed

T = TypeVar("T")


class Outputs(struct.PyTreeNode):
    """What one pass of the network through its training mode gives."""

    logits: jax.Array
    """[N, K], float32."""
    batch_stats: Tree
    """The running statistics after the pass; an empty dict without a norm."""
    voltages: Tree
    """What the layers' taps recorded (`physjax.nn.taps`); an empty dict where there are none."""


@dataclass(frozen=True)
class Network:
    """A network and a batch, as a rule sees them: this device's share of both.

    Augmentation, dropout masks and labels are already chosen, so `loss` is a function of the
    parameters alone and may be called as often as a rule has states to look at.
    """

    loss: Callable[[Tree, Tree], tuple[jax.Array, Outputs]]
    """(params, perturbations) -> this device's part of the mean loss over the batch, in nats.
    Perturbations are those of `physjax.nn.taps`, or an empty dict."""
    examples: jax.Array
    """Examples in the whole batch, over all devices."""
    sum_over_devices: Callable[[T], T]
    """The sum of a pytree over the devices, on each of them; itself on a single one."""
    forward: Callable[[Tree, Activation], Outputs]
    """(params, nonlinearity) -> the pass that `loss` makes, with this in place of `activation`."""
    activation: Activation
    """The network's nonlinearity."""
    targets: jax.Array
    """[n, K]: the probabilities that the logits of this device's examples are to give."""
    mask: jax.Array
    """bool [n]: False for what only fills up the last batch of an epoch."""
    key: jax.Array
    """For random numbers of the rule's own: of this step, and the same on every device."""
    trace: bool = False
    """Whether a rule that lets its layers settle shall note what they go through."""

    def chain(self, params: Tree) -> Chain:
        """The network cut at its nonlinearities, for a rule that lets its layers settle."""
        return cut(
            lambda p, activation: self.forward(p, activation).logits, self.activation, params
        )


@dataclass(frozen=True)
class Update:
    """What a rule makes of a batch, the same on every device."""

    gradients: Tree
    """For the optimiser, in the structure of the parameters. Zero where the rule moves a parameter
    itself, or where it stays as it is."""
    outputs: Outputs
    """Of the free state: the metrics are computed from its logits."""
    moved: Tree = field(default_factory=dict)
    """New values of the parameters that the rule moves without the optimiser, in nested
    dictionaries that hold those parameters alone."""
    relaxed: Relaxed | None = None
    """What the network settled to, for whoever wants to look; nothing is trained by it."""


@dataclass(frozen=True)
class LearningRule:
    """How a network learns from a batch.

    `update(network, params)` returns an :class:`Update`. It is traced inside the compiled train
    step, on one device or mapped over several; what it returns must be the same on each, so it sums
    over the devices what it has computed from its share. Keyword-only arguments of it are the
    rule's settings: `--rule.NAME` and `rule.NAME` in a config choose their values, within the
    limits of the annotation.
    """

    name: str
    equation: str
    """What a parameter's change is, in one line of text."""
    source: str
    """Where the rule comes from."""
    update: Callable[..., Update]
    """(network, params) -> Update."""
    connection: Connection = PLAIN
    """What the rule needs in every layer."""
    needs_chain: bool = False
    """Whether it asks for `Network.chain`: then the base must be a chain of layers, and the
    arithmetic float32."""
    diagnostics: Callable[[Mapping[str, jax.Array]], dict[str, float]] = lambda layer: {}
    """What an epoch's record says of one layer's parameters, by name."""

    @property
    def settings(self) -> dict[str, Keyword]:
        """What the rule lets one choose, by name: the keyword-only arguments of `update`."""
        return keywords(self.update)

    def configured(self, values: Mapping[str, Any]) -> LearningRule:
        """The rule with these values of its settings.

        Raises:
          ConfigError: it has no such setting, or a value cannot be; named as in `rule.gamma`.
        """
        own = checked(self.settings, values, "rule", f"learning rule {self.name!r}")
        return replace(self, update=bind(self.update, own))
