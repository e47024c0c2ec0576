"""Where a train step's time goes, before and after: the share of each kind of operation.

    python benchmarks/profile_step.py --json results/benchmarks/profile_step.json

Before: direct convolutions and malloc as it comes. After: physjax as its commands run it. Times are
XLA's own, operation by operation, from a trace; operations that ran side by side are both counted,
so shares are of their sum. The last line compares the step with the machine's matrix products: the
direct convolution's floating-point operations in the step's time, over the rate of a large product.
"""

from __future__ import annotations

import collections
import glob
import re
import tempfile
import time
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, alone, announce, options, write

# In this order: the first pattern found in an operation's name decides.
KINDS = (
    ("augmentation and gathering", r"/augment/"),
    ("optimiser", r"/optimizer/"),
    ("max pool", r"max_pool"),
    ("dropout", r"Dropout"),
    ("norm, force, activation", r"norm/|/force/|/activation/"),
    ("convolution: products", r"/(conv|stem|block|inception)[^/]*/.*(dot_general|conv_general)"),
    (
        "convolution: transforms and patches",
        r"/(conv|stem|block|inception)[^/]*/.*(cond|branch|optimization_barrier)",
    ),
    ("dense layers", r"/fc[0-9]"),
)
OTHER = "loss, metrics, rest"


def kind(operation: str) -> str:
    """The kind of an operation, by its name in the program."""
    return next((name for name, pattern in KINDS if re.search(pattern, operation)), OTHER)


def names(program: str) -> dict[str, str]:
    """Where each instruction of an HLO text comes from; a fusion's is its last operation's."""
    bodies: dict[str, str] = {}
    for body in re.split(r"\n(?=(?:ENTRY )?%?[\w.-]+ \()", program):
        bodies[re.split(r"[ (]", body.lstrip("%"), maxsplit=1)[0]] = body
    found = {}
    for line in program.splitlines():
        instruction = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = ", line)
        if not instruction:
            continue
        own = re.search(r'op_name="([^"]*)"', line)
        called = re.search(r"calls=%?([\w.-]+)", line)
        body = bodies.get(called[1], "") if called else ""
        inner = re.findall(r'op_name="([^"]*)"', body)
        found[instruction[1]] = own[1] if own else inner[-1] if inner else ""
        if not found[instruction[1]] and " convolution(" in body:
            # XLA rewrites a kernel gradient, and its name gets lost.
            found[instruction[1]] = "/conv/conv_general_dilated"
    return found


def profile(steps: int = 4, **model: Any) -> dict[str, Any]:
    """Milliseconds per step of each kind, and of the whole; called in a process of its own."""
    import jax

    what = physjax_side.setup(examples=5000, **model)
    call, state, data = physjax_side.ready(what)
    sources = names(call.as_text())
    for _ in range(3):
        state = jax.block_until_ready(call(state, *data))
    milliseconds: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            start = time.perf_counter()
            for _ in range(steps):
                state = jax.block_until_ready(call(state, *data))
            seconds = (time.perf_counter() - start) / steps
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        trace = jax.profiler.ProfileData.from_file(path)
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                # A loop's own event covers those of its body.
                if "hlo_op" in dict(event.stats) and not event.name.startswith("while"):
                    where = kind(sources.get(event.name, ""))
                    milliseconds[where] += event.duration_ns / 1e6 / steps
    return {"step_milliseconds": 1e3 * seconds, "milliseconds": dict(milliseconds)}


def direct_gflop(model: str, batch_size: int = 128) -> float:
    """Floating-point operations of a step with direct convolutions, in 1e9.

    Three times the forward pass: its gradients by inputs and by parameters cost as much each.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from harness import torch_side

    call = torch_side.predict(model, batch_size=batch_size)
    with FlopCounterMode(display=False) as counter:
        call()
    return 3 * counter.get_total_flops() / 1e9


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="physics")
    arguments = parser.parse_args()
    facts = announce(products=True)
    direct = {"name": arguments.model, "algorithm": "direct"}
    before = alone(Contestant("before", "profile_step:profile", direct))
    after = alone(
        Contestant(
            "after", "profile_step:profile", {"name": arguments.model}, physjax_side.environment()
        )
    )
    for name in (*(name for name, _ in KINDS), OTHER):
        times = [side["milliseconds"].get(name, 0.0) for side in (before, after)]
        print(f"{name:36} before {times[0]:5.0f} ms, after {times[1]:5.0f} ms")
    gflop = direct_gflop(arguments.model)
    for label, side in (("before", before), ("after", after)):
        rate = gflop / side["step_milliseconds"] * 1e3
        side["of_matrix_product_peak"] = rate / facts["matrix_product_gflops"]
        print(
            f"{label}: a step of {side['step_milliseconds']:.0f} ms does {gflop:.0f} GFLOP of "
            f"direct convolutions, at {side['of_matrix_product_peak']:.0%} of the rate of a "
            "large matrix product"
        )
    write(
        arguments.json,
        {
            "machine": facts,
            "model": arguments.model,
            "direct_gflop": gflop,
            "before": before,
            "after": after,
        },
    )


if __name__ == "__main__":
    main()
