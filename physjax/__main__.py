"""`python -m physjax COMMAND`: the same as the installed command `physjax`."""

from __future__ import annotations

import sys

from physjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
