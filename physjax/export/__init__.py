"""Trained networks taken out of physjax, and weights from elsewhere taken in.

A new format is one file with an :class:`ExportFormat` in it and one line in `EXPORTS`.
"""

from etils import epy

from physjax.config.registry import Registry

EXPORTS: "Registry[ExportFormat]" = Registry(
    "export format",
    "physjax.export.format:ExportFormat",
    {
        "stablehlo": "physjax.export.stablehlo",
        "onnx": "physjax.export.onnx",
        "safetensors": "physjax.export.safetensors",
        "torch": "physjax.export.torch",
    },
)
"""By name; each file is imported when its format is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.export.format import ExportError, ExportFormat
    from physjax.export.network import PortableNetwork, network_of_run
    from physjax.export.safetensors import read_safetensors
    from physjax.export.torch import network_of_torch, read_torch
    from physjax.export.write import write_export
    from physjax.train.weights.errors import WeightsError

__all__ = [
    "EXPORTS",
    "ExportError",
    "ExportFormat",
    "PortableNetwork",
    "WeightsError",
    "network_of_run",
    "network_of_torch",
    "read_safetensors",
    "read_torch",
    "write_export",
]
