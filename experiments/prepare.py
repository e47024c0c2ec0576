"""Prepare a data set in a TFDS folder, without TensorFlow.

The same as `physjax prepare`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("prepare"))
