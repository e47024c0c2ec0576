"""What a run leaves behind, typed, and its folder on disk. Nothing here imports JAX."""

from physjax.records.folder import (
    Line,
    RunFolder,
    RunRecord,
    best_epoch,
    digest,
    read_json,
    selected_by,
    usual_rate,
    write_json,
)
from physjax.records.run import (
    DataFacts,
    DeviceFacts,
    EpochRecord,
    RecordError,
    Result,
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
    "best_epoch",
    "digest",
    "read_json",
    "selected_by",
    "usual_rate",
    "write_json",
]
