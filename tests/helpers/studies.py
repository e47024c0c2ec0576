"""Records of studies that were never run, with the figures that a test wants to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from physjax.records import DataFacts, DeviceFacts, EpochRecord, Result
from physjax.study.design import Cell, Study, plan
from physjax.study.folder import StudyFolder, StudyRecord

MACHINE = DeviceFacts(platform="cpu", kind="cpu", count=1, hosts=1, host_cores=2)


def study(**changes: Any) -> Study:
    """cnn, without and with the ring, on the digits, three seeds, two epochs."""
    values: dict[str, Any] = {
        "models": ("cnn",),
        "laws": ("none", "ring"),
        "datasets": ("digits",),
        "seeds": (0, 1, 2),
        "recipe": "smoke",
    }
    return Study(**{**values, **changes})


def result(train: float, test: float, **changes: Any) -> Result:
    """A result with these accuracies, of 2 epochs of 200 images in 11 s, 1 s of it compiling."""
    values: dict[str, Any] = {
        "train_accuracy": train,
        "test_accuracy": test,
        "best_test_accuracy": max(test, 0.5),
        "best_epoch": 2,
        "selection_criterion": "training loss",
        "epochs": 2,
        "steps": 10,
        "parameters": 3060,
        "wall_seconds": 11.0,
        "compile_seconds": 1.0,
        "images_per_second": 40.0,
        "peak_memory_mib": 500.0,
        "device": MACHINE,
        "versions": {"jax": "0"},
        "data": DataFacts(
            name="digits",
            title="Digits",
            version="1",
            source="/somewhere/on/disk/digits/1.0.0",
            fingerprint="f" * 64,
            examples={"train": 200, "test": 360},
            class_names=("0", "1"),
        ),
        "confusion": [[1, 0], [0, 1]],
    }
    return Result(**{**values, **changes})


def record(planned: Study, cell: Cell, train: float, test: float, **changes: Any) -> StudyRecord:
    """The record of one run of `planned` that ended with these accuracies."""
    epochs = tuple(
        EpochRecord(e, 5 * e, 2.0 / e, train / 2 * e, 2.5 / e, test / 2 * e, 0.1, 40.0, 5.0)
        for e in (1, 2)
    )
    return StudyRecord(cell, plan(planned)[cell], epochs, result(train, test, **changes))


def failed(planned: Study, cell: Cell) -> StudyRecord:
    """The record of a run whose loss became infinite."""
    return StudyRecord(cell, plan(planned)[cell], (), None, "the loss is not finite at step 3")


def write(folder: Path, planned: Study, accuracies: dict[str, float | None]) -> StudyFolder:
    """A study's folder with runs of these test accuracies, by name; None: the run failed."""
    files = StudyFolder(folder)
    files.open(planned)
    for cell in plan(planned):
        if cell.name in accuracies:
            test = accuracies[cell.name]
            made = (
                failed(planned, cell) if test is None else record(planned, cell, test + 0.1, test)
            )
            files.write(made)
    return files
