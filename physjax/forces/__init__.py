"""Force laws between the channels of a layer, and their registry.

A new law is one file with a :class:`ForceLaw` in it and one line in `LAWS`.
"""

from etils import epy

from physjax.config.registry import Registry

LAWS: "Registry[ForceLaw]" = Registry(
    "force law",
    "physjax.forces.law:ForceLaw",
    {
        "none": "physjax.forces.none",
        "ring": "physjax.forces.ring",
        "spring": "physjax.forces.spring",
        "divisive": "physjax.forces.divisive",
        "lrn": "physjax.forces.lrn",
        "ring-gate": "physjax.forces.gate",
        "own-gate": "physjax.forces.gate",
        "energy-gate": "physjax.forces.energy_gate",
        "se": "physjax.forces.squeeze",
        "miller": "physjax.forces.miller",
        "square": "physjax.forces.square",
    },
)
"""By name; each file is imported when its law is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.forces.check import LawError
    from physjax.forces.check import check as check_law
    from physjax.forces.law import ForceLaw, Params
    from physjax.forces.ring import neighbor_sum

__all__ = ["LAWS", "ForceLaw", "LawError", "Params", "check_law", "get_law", "neighbor_sum"]


def get_law(name: str) -> "ForceLaw":
    """The law of that name. Raises ConfigError with the names that exist."""
    return LAWS.get_named(name)
