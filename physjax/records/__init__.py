"""What a run leaves behind, typed, and its folder on disk. Nothing here imports JAX."""

from physjax.records.epochs import (
    Line,
    best_epoch,
    best_test_accuracy,
    digest,
    median_images_per_second,
    selection_criterion,
)
from physjax.records.folder import RunFolder, RunRecord, read_json, write_json
from physjax.records.run import (
    DataFacts,
    DeviceFacts,
    EpochRecord,
    RecordError,
    Result,
    Spent,
)

__all__ = [
    "DataFacts",
    "DeviceFacts",
    "EpochRecord",
    "Line",
    "RecordError",
    "Result",
    "RunFolder",
    "RunRecord",
    "Spent",
    "best_epoch",
    "best_test_accuracy",
    "digest",
    "median_images_per_second",
    "read_json",
    "selection_criterion",
    "write_json",
]
