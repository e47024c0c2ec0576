"""Data sets: `load(config.data)` gives decoded images, `augment` changes them on the device.

`DATASETS` is the table of what is known; `prepare` writes a data set into a TFDS folder.
"""

from physjax.data.loading import load, resolve
from physjax.data.preparing import prepare
from physjax.data.table import DATASETS, DatasetSpec
from physjax.data.types import DataError, Dataset, DatasetInfo, Split, fingerprint

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "DatasetSpec",
    "Split",
    "fingerprint",
    "load",
    "prepare",
    "resolve",
]
