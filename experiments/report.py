"""Write one HTML page about trained runs and studies, to look at without a network.

The same as `physjax report`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("report"))
