"""StableHLO by `jax.export`: the whole network as a program, its weights inside."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from physjax import files
from physjax.export.format import ExportFormat
from physjax.export.network import PortableNetwork

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""What the program can run on."""

_USAGE = """\
from pathlib import Path

from jax import export

network = export.deserialize(bytearray(Path("NAME").read_bytes()))
logits = network.call(images)  # any number of images
"""


def write(network: PortableNetwork, path: Path) -> None:
    """Write the network as `jax.export` serialises it; the batch is a symbol."""
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *network.input_shape), jnp.uint8)
    program = export.export(jax.jit(network.function()), platforms=PLATFORMS)(images)
    files.atomic_write(path, bytes(program.serialize()))


STABLEHLO = ExportFormat(
    name="stablehlo",
    suffix=".stablehlo",
    holds="A StableHLO program with its weights, serialised by `jax.export`, which JAX runs on "
    "CPU, GPU and TPU without physjax.",
    usage=_USAGE,
    write=write,
)
