"""Seconds of training until a test accuracy is reached, by arm, from the records of runs.

    python benchmarks/time_to_accuracy.py --records results/studies/conv_cifar10/records \
        --levels 0.4 0.5 0.6 --json results/benchmarks/time_to_accuracy.json

Training time is the sum over epochs of images trained on over their rate, and the compilation; the
evaluations after each epoch are left out. Records of runs that other work stood beside, or that
were stopped on the way, say more about that than about the arm: compare arms of one study.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.measuring import options, write
from physjax.study.folder import StudyRecord, read_record


def seconds_to(record: StudyRecord, level: float) -> float | None:
    """Seconds of compiling and training until the first epoch that ends at `level`, else None."""
    assert record.result is not None
    seconds, last = record.result.compile_seconds, 0
    for epoch in record.epochs:
        if not epoch.images_per_second:
            return None
        images = (epoch.step - last) * record.config.optim.batch_size
        seconds, last = seconds + images / epoch.images_per_second, epoch.step
        if epoch.test_accuracy is not None and epoch.test_accuracy >= level:
            return seconds
    return None


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", nargs="+", type=Path, required=True, help="files or folders")
    parser.add_argument("--levels", nargs="+", type=float, default=[0.5, 0.6, 0.7, 0.8, 0.9])
    arguments = parser.parse_args()
    paths = [
        path
        for given in arguments.records
        for path in (sorted(given.glob("*.json")) if given.is_dir() else [given])
    ]
    rows: dict[str, Any] = {}
    for path in paths:
        record = read_record(path)
        if record.result is None:
            continue
        times = [seconds_to(record, level) for level in arguments.levels]
        found = dict(zip(map(str, arguments.levels), times, strict=True))
        print(path.stem, *(f"{k}: {'–' if t is None else f'{t:.0f} s'}" for k, t in found.items()))
        rows[path.stem] = {"device": record.result.device, "seconds": found}
    write(arguments.json, {"levels": arguments.levels, "runs": rows})


if __name__ == "__main__":
    main()
