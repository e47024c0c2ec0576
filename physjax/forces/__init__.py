"""Force laws between the channels of a layer, and their registry.

A new law is one file with a :class:`ForceLaw` in it and one line in `LAWS`.
"""

from physjax.forces.divisive import DIVISIVE
from physjax.forces.law import ForceLaw, LawError, Params
from physjax.forces.law import check as check_law
from physjax.forces.lrn import LRN
from physjax.forces.none import NONE
from physjax.forces.ring import RING, neighbor_sum
from physjax.forces.spring import SPRING

LAWS: dict[str, ForceLaw] = {law.name: law for law in (NONE, RING, SPRING, DIVISIVE, LRN)}

__all__ = ["LAWS", "ForceLaw", "LawError", "Params", "check_law", "get_law", "neighbor_sum"]


def get_law(name: str) -> ForceLaw:
    """The law of that name. Raises ValueError with the names that exist."""
    if name not in LAWS:
        raise ValueError(f"there is no force law {name!r}; the laws are {', '.join(LAWS)}")
    return LAWS[name]
