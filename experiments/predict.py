"""Say what a trained run sees on image files.

The same as `physjax predict`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("predict"))
