"""Seconds of training until an accuracy is reached: physjax and PyTorch by the same recipe.

    python benchmarks/time_to_accuracy.py --json results/benchmarks/time_to_accuracy.json

Needs the extra `bench`. Both sides train an epoch in turns, each in a process of its own, and are
evaluated after it on validation images that are held out of the training images. Training time is
that of the steps, and of compiling; evaluations and the loading of images are left out. PyTorch
runs eagerly in channels_last, in float32 and, where the CPU has instructions for it, in bfloat16
autocast. What PyTorch's side cannot do of a recipe it refuses.

    python benchmarks/time_to_accuracy.py --records results/studies/conv_cifar10/records

reads runs that there are instead, and takes their test accuracy. Records of runs that other work
stood beside, or that were stopped on the way, say more about that than about the arm: compare arms
of one study.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness import physjax_side
from harness.measuring import Contestant, announce, in_turns, options, write
from physjax.config import RECIPES, Config, parse_settings, recipe, to_dict
from physjax.errors import UserError
from physjax.study.folder import StudyRecord, read_record

LEVELS = [0.8, 0.85, 0.9]


def seconds_to(epochs: Iterable[tuple[float, float | None]], level: float) -> float | None:
    """Seconds until the end of the first epoch with that accuracy, else None.

    Args:
      epochs: seconds and accuracy of each; None where it was not evaluated.
      level: a fraction.
    """
    seconds = 0.0
    for taken, accuracy in epochs:
        seconds += taken
        if accuracy is not None and accuracy >= level:
            return seconds
    return None


def of_record(record: StudyRecord) -> list[tuple[float, float | None]]:
    """Training seconds, the first with compiling, and test accuracy of a run's epochs.

    Empty where the record does not say how fast it was.
    """
    assert record.result is not None
    found, last, before = [], 0, record.result.compile_seconds
    for epoch in record.epochs:
        if not epoch.images_per_second:
            return []
        images = (epoch.step - last) * record.config.optim.batch_size
        found.append((before + images / epoch.images_per_second, epoch.test_accuracy))
        last, before = epoch.step, 0.0
    return found


def shown(label: str, seconds: dict[str, float | None]) -> None:
    """Print a line: how long which accuracy took."""
    times = (
        f"{float(k):.0%}: {'–' if taken is None else f'{taken:.0f} s'}"
        for k, taken in seconds.items()
    )
    print(f"{label:48}", *times, flush=True)


def from_records(given: Sequence[Path], levels: Sequence[float]) -> dict[str, Any]:
    """The rows of runs that there are."""
    paths = [
        p for path in given for p in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    rows: dict[str, Any] = {}
    for path in paths:
        record = read_record(path)
        if record.result is None:
            continue
        epochs = of_record(record)
        seconds = {str(level): seconds_to(epochs, level) for level in levels}
        shown(path.stem, seconds)
        rows[path.stem] = {"device": record.result.device, "seconds": seconds}
    return rows


def contestants(config: Config) -> tuple[list[Contestant], dict[str, str]]:
    """Who trains by `config`, and by label why somebody does not.

    Raises:
      ConfigError: PyTorch's side cannot do what the config says.
    """
    # Not above: this script is imported by the contestants too.
    from harness import torch_models, torch_recipe

    torch_recipe.check(config)
    torch_models.check(config.model)
    mine = physjax_side.environment()
    found = [
        Contestant("physjax", "harness.physjax_side:epochs", {"config": to_dict(config)}, mine)
    ]
    left_out = {}
    for label, precision in (("PyTorch float32", "float32"), ("PyTorch bfloat16", "bf16")):
        lack = torch_recipe.bf16_lack() if precision == "bf16" else ""
        if lack:
            left_out[label] = lack
            continue
        arguments = {"config": to_dict(config.set("run.precision", precision))}
        found.append(Contestant(label, "harness.torch_side:epochs", arguments))
    return found, left_out


def measure(config: Config, levels: Sequence[float]) -> dict[str, Any]:
    """The rows of one config, by contestant."""
    racing, left_out = contestants(config)
    title = f"{config.recipe} {config.model.name}"
    epochs: dict[str, list[dict[str, float]]] = {c.label: [] for c in racing}
    for found in in_turns(racing, config.optim.epochs):
        for label, epoch in found.items():
            epochs[label].append(epoch)
            print(
                f"  {title}: {label:16} epoch {len(epochs[label]):3} {epoch['seconds']:8.1f} s "
                f"{epoch['accuracy']:.2%}",
                flush=True,
            )
    rows: dict[str, Any] = {}
    for label, own in epochs.items():
        compiling = own[0].get("compile_seconds", 0.0)
        times = [(e["seconds"] + (0 if i else compiling), e["accuracy"]) for i, e in enumerate(own)]
        seconds = {str(level): seconds_to(times, level) for level in levels}
        shown(f"{title}: {label}", seconds)
        rows[f"{title}: {label}"] = {
            "config": to_dict(config),
            "compile_seconds": compiling,
            "epochs": [{k: epoch[k] for k in ("seconds", "accuracy")} for epoch in own],
            "seconds": seconds,
        }
    for label, why in left_out.items():
        print(f"{title}: {label} left out: {why}")
        rows[f"{title}: {label}"] = {"left_out": why}
    return rows


def configs(arguments: Any) -> list[Config]:
    """Every recipe with its own model or those asked for, and what else the command line says."""
    settings = {
        "data.dataset": arguments.dataset,
        "data.data_dir": arguments.data_dir,
        "data.holdout": arguments.holdout,
        **parse_settings(arguments.set),
    }
    return [
        recipe(name).set_all({"model.name": model, **settings})
        for name in arguments.recipes
        for model in arguments.models or [recipe(name).model.name]
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", nargs="+", type=Path, help="read these files or folders")
    parser.add_argument("--recipes", nargs="+", default=["fast", "speedrun"], choices=list(RECIPES))
    parser.add_argument("--models", nargs="+", help="bases; each recipe's own where none is named")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--data-dir", help="TFDS folder")
    parser.add_argument("--holdout", type=float, default=0.1, help="fraction for validation")
    parser.add_argument("--set", nargs="+", default=[], metavar="PART.FIELD=VALUE")
    parser.add_argument("--levels", nargs="+", type=float, default=LEVELS)
    arguments = parser.parse_args()
    if arguments.records:
        rows = from_records(arguments.records, arguments.levels)
        write(arguments.json, {"levels": arguments.levels, "runs": rows})
        return
    facts, rows = announce(), {}
    try:
        for config in configs(arguments):
            rows |= measure(config, arguments.levels)
    except UserError as error:
        parser.error(str(error))
    write(arguments.json, {"machine": facts, "levels": arguments.levels, "runs": rows})


if __name__ == "__main__":
    main()
