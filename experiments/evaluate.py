"""Evaluate a trained run on its test set; write a table and figures into its folder.

The same as `physjax evaluate`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("evaluate"))
