"""Coupled learning in resistor networks: a library on its own (see docs/resistive.md).

from physjax import resistive

net = resistive.network(resistive.wheel(9))
task = resistive.allostery(sources=(0, 4), outputs=(2, 6), targets=(0.3, 0.6))
trained, record = resistive.train(net, task, resistive.ConductanceRule(), steps=2000)
"""

from physjax.resistive.graphs import (
    disordered,
    from_networkx,
    random_graph,
    ring,
    square_lattice,
    wheel,
)
from physjax.resistive.network import (
    Graph,
    Network,
    NetworkError,
    cut,
    network,
    random_conductances,
    random_cuts,
)
from physjax.resistive.rules import (
    Asynchronous,
    ConductanceRule,
    DiscreteRule,
    EquilibriumPropagation,
    ResistanceRule,
    conductance_step,
    discrete_step,
    equilibrium_propagation_step,
    resistance_step,
)
from physjax.resistive.solve import clamped_state, free_state
from physjax.resistive.tasks import Task, allostery, digits, iris, logic_gate, regression
from physjax.resistive.train import Record, Score, evaluate, train, train_many

__all__ = [
    "Asynchronous",
    "ConductanceRule",
    "DiscreteRule",
    "EquilibriumPropagation",
    "Graph",
    "Network",
    "NetworkError",
    "Record",
    "ResistanceRule",
    "Score",
    "Task",
    "allostery",
    "clamped_state",
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
    "train_many",
    "wheel",
]
