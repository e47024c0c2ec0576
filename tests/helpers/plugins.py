"""Plug-ins taken out again."""

from __future__ import annotations

import sys

from physjax.data import DATASETS
from physjax.forces import LAWS
from physjax.models import MODELS
from physjax.optimizers import OPTIMIZERS
from physjax.rules import RULES
from physjax.train import plugins


def forget() -> None:
    """What a process that starts anew does not know."""
    for module in (plugin.module for plugin in plugins._LOADED.values()):
        sys.modules.pop(module.__name__, None)
        for table in (LAWS, RULES, OPTIMIZERS, MODELS, DATASETS):
            for thing in table.objects(module):
                if thing.name not in table._own:
                    table.pop(thing.name, None)
    plugins._LOADED.clear()
