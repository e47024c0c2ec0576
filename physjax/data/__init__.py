"""Data sets: `load(config.data)` gives decoded images, `augment` changes them on the device.

`DATASETS` is the table of what is known; `prepare` writes a data set into a TFDS folder, and
`from_arrays` makes one of one's own images.
"""

from etils import epy

from physjax.config.registry import Registry

DATASETS: "Registry[DatasetSpec]" = Registry(
    "data set",
    "physjax.data.spec:DatasetSpec",
    dict.fromkeys(
        ("cifar10", "cifar100", "svhn_cropped", "mnist", "fashion_mnist", "digits"),
        "physjax.data.catalog",
    )
    | {"folder": "physjax.data.image_folder", "npz": "physjax.data.npz"},
)
"""By name; the catalog is imported when a data set is first asked for."""

with epy.lazy_api_imports(globals()):
    from physjax.data.arrays import from_arrays
    from physjax.data.loading import class_names, find_spec, load, resolve, select
    from physjax.data.preparing import prepare
    from physjax.data.spec import DatasetSpec
    from physjax.data.types import DataError, Dataset, DatasetInfo, Split, fingerprint

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "DatasetSpec",
    "Split",
    "class_names",
    "find_spec",
    "fingerprint",
    "from_arrays",
    "load",
    "prepare",
    "resolve",
    "select",
]
