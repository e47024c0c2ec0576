"""Train one model from a recipe, and draw its figures.

The same as `physjax train`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("train"))
