"""Networks of resistors that learn by themselves: a library on its own (see docs/resistive.md).

from physjax import resistive

net = resistive.network(resistive.wheel(9))
task = resistive.allostery(sources=(0, 4), outputs=(2, 6), targets=(0.3, 0.6))
options = resistive.TrainOptions(steps=2000)
trained, history = resistive.train(net, task, resistive.ConductanceRule(), options)
"""

from physjax.resistive.checks import NetworkError
from physjax.resistive.damage import cut, random_cuts
from physjax.resistive.evaluation import Score, evaluate
from physjax.resistive.examples import Examples
from physjax.resistive.graphs import (
    disordered,
    from_networkx,
    random_graph,
    ring,
    square_lattice,
    wheel,
)
from physjax.resistive.layered import (
    LayeredHistory,
    LayeredNetwork,
    LayeredOptions,
    classification,
    layered_network,
    layered_outputs,
    layered_state,
    train_layered,
)
from physjax.resistive.network import Graph, Network, network, random_conductances
from physjax.resistive.rules import (
    Asynchronous,
    ConductanceRule,
    DiscreteRule,
    EquilibriumPropagation,
    ResistanceRule,
    Rule,
)
from physjax.resistive.states import clamped_state, free_state
from physjax.resistive.tasks import allostery, digits, iris, logic_gate, regression
from physjax.resistive.train import TrainingHistory, TrainOptions, train, train_many
from physjax.resistive.updates import (
    conductance_step,
    discrete_step,
    equilibrium_propagation_step,
    resistance_step,
)

__all__ = [
    "Asynchronous",
    "ConductanceRule",
    "DiscreteRule",
    "EquilibriumPropagation",
    "Examples",
    "Graph",
    "LayeredHistory",
    "LayeredNetwork",
    "LayeredOptions",
    "Network",
    "NetworkError",
    "ResistanceRule",
    "Rule",
    "Score",
    "TrainOptions",
    "TrainingHistory",
    "allostery",
    "clamped_state",
    "classification",
    "conductance_step",
    "cut",
    "digits",
    "discrete_step",
    "disordered",
    "equilibrium_propagation_step",
    "evaluate",
    "free_state",
    "from_networkx",
    "iris",
    "layered_network",
    "layered_outputs",
    "layered_state",
    "logic_gate",
    "network",
    "random_conductances",
    "random_cuts",
    "random_graph",
    "regression",
    "resistance_step",
    "ring",
    "square_lattice",
    "train",
    "train_layered",
    "train_many",
    "wheel",
]
