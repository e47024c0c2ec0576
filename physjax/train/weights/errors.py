"""What goes wrong with weights from elsewhere."""

from __future__ import annotations

import importlib
from types import ModuleType

from physjax.errors import UserError


class WeightsError(UserError):
    """Weights that cannot be read, or that a network cannot start from; the message says why."""


def needed(module: str, extra: str | None = "export") -> ModuleType:
    """A module that only some files need, of an extra of physjax or of none.

    Raises WeightsError with the way to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        alone = f"pip install {module.partition('.')[0]}"
        how = alone if extra is None else f"pip install 'physjax[{extra}]' (or {alone})"
        raise WeightsError(f"{module} is not installed: {how}") from error
