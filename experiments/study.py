"""Carry out a study: models x laws x data sets x seeds, with tables and figures at its end.

The same as `physjax study`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("study"))
