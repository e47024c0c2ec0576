"""Take a trained network out of physjax: StableHLO, ONNX, safetensors, PyTorch.

The same as `physjax export`.
"""

from __future__ import annotations

import sys

from physjax.cli import run

if __name__ == "__main__":
    sys.exit(run("export"))
