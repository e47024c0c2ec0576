"""Train networks of resistors.

The same as `physjax resistive`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("resistive"))
