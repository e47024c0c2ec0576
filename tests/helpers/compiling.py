"""Compiling where the numbers are not the question."""

from __future__ import annotations

from physjax import runtime

_OPTIONS = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}
QUICK = {name: value for name, value in _OPTIONS.items() if not runtime._unknown_flags([name])}
"""Options of XLA that compile in a fifth of the time programs that are not run for long.

XLA:CPU's fusions go through one more compiler else, and LLVM's passes take most of the rest.
"""
