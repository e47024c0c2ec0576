"""From a DataConfig to images: which data set, from where, which part of it."""

from __future__ import annotations

from physjax.config import ConfigError, DataConfig
from physjax.data import DATASETS
from physjax.data.cache import cached
from physjax.data.download import unreachable_reason
from physjax.data.own import load_own
from physjax.data.pixels import check_split
from physjax.data.preparing import prepare
from physjax.data.provenance import title_and_notice
from physjax.data.spec import DatasetSpec
from physjax.data.split import hold_out, take_stratified
from physjax.data.tfds_any import tfds_spec
from physjax.data.tfds_folder import find_prepared, read_prepared
from physjax.data.tfds_layout import data_folder
from physjax.data.types import DataError, Dataset, DatasetInfo, Split, fingerprint

FIRST_CHOICE = "cifar10"
STAND_IN = "digits"


def resolve(config: DataConfig) -> str:
    """The data set that a config means: its own name, or for `auto` CIFAR-10 or the digits.

    `auto` is CIFAR-10 where it is prepared or where its host answers (asked in at most 5 s, once
    in a process), else the embedded digits. Should the download fail later, `load` still takes
    the digits: the name that counts is `Dataset.info.name`.

    Raises:
      DataError: unknown name, or a prepared folder that is broken.
    """
    return _choose(config)[0]


def find_spec(config: DataConfig) -> DatasetSpec:
    """The entry of the data set that a config names: of the table, or for one in the TFDS folder.

    Raises:
      DataError: there is none.
    """
    try:
        return DATASETS.get_named(config.dataset)
    except ConfigError as error:
        spec = tfds_spec(config.dataset, config.data_dir)
        if spec is None:
            raise DataError(
                f"{error}; or auto; or the name of one in the TFDS folder "
                f"{data_folder(config.data_dir)}"
            ) from None
        return spec


def is_own(config: DataConfig) -> bool:
    """Whether a config names images of one's own, which are resized to `config.image_size`."""
    if config.dataset == "auto":
        return False
    try:
        return find_spec(config).layout == "own"
    except DataError:
        return False


def class_names(config: DataConfig) -> tuple[str, ...]:
    """Of the data set that a config names; its images are not decoded. Raises DataError."""
    name = resolve(config)
    spec = DATASETS[name] if name != config.dataset else find_spec(config)
    return spec.class_names if spec.find is None else spec.find(config).class_names


def _choose(config: DataConfig) -> tuple[str, str]:
    """The data set's name, and for a stand-in why CIFAR-10 cannot be had."""
    if config.dataset != "auto":
        spec = find_spec(config)
        if config.image_size is not None and spec.layout != "own":
            raise DataError(
                f"image_size is {config.image_size}, which does nothing: images of {spec.name} are "
                "stored in 32x32 pixels, and resized on the device to what the network sees"
            )
        return spec.name, ""
    spec = DATASETS[FIRST_CHOICE]
    if find_prepared(spec, config.data_dir):
        return FIRST_CHOICE, ""
    reason = unreachable_reason(spec.archives[0].url)
    return (STAND_IN, reason) if reason else (FIRST_CHOICE, "")


def load(config: DataConfig) -> Dataset:
    """The images of a run, decoded, in a fixed order.

    CIFAR-10 and the others are read from the TFDS folder, and downloaded and prepared there first
    where they are missing and their host answers. The decoded images are cached.

    Raises:
      DataError: unknown name; images that are missing and cannot be had; a broken folder; a subset
        that cannot be cut. The message names the path or the number and the ways out.
    """
    name, reason = _choose(config)
    if name == config.dataset and (own := find_spec(config)).layout == "own":
        return select(load_own(own, config), config)
    if DATASETS[name].load is not None:
        return select(_load_embedded(DATASETS[name], config, reason), config)
    try:
        return select(_load_prepared(DATASETS[name], config), config)
    except _CannotBeHad as error:
        if config.dataset != "auto":
            raise
        return select(_load_embedded(DATASETS[STAND_IN], config, error.reason), config)


def select(dataset: Dataset, config: DataConfig) -> Dataset:
    """The part of a data set that a config asks for: `holdout` first, then `train_examples`; of the
    test images `test_examples`.

    Raises:
      DataError: a subset that cannot be cut.
    """
    train, validation = hold_out(dataset.train, config.holdout)
    if config.train_examples is not None:
        train = take_stratified(
            train, config.train_examples, dataset.info.num_classes, "train_examples"
        )
    test = dataset.test
    if config.test_examples is not None:
        test = take_stratified(
            test, config.test_examples, dataset.info.num_classes, "test_examples"
        )
    return Dataset(train, test, dataset.info, validation)


class _CannotBeHad(DataError):
    """The data set is not prepared and cannot be prepared from here."""

    def __init__(self, spec: DatasetSpec, data_dir: str | None, reason: str) -> None:
        self.reason = reason
        folder = data_folder(data_dir)
        files = " ".join(archive.name for archive in spec.archives)
        super().__init__(
            f"{spec.title} is not prepared in {folder} and cannot be downloaded: {reason}. "
            f"Three ways out:\n"
            f"  --data-dir FOLDER, where FOLDER/{spec.name}/{spec.version} is a prepared copy\n"
            f"  physjax prepare --dataset {spec.name} --data-dir {folder} "
            f"--archive {files}\n"
            f"      with the archive brought by hand from {spec.home}\n"
            f"  --dataset digits, which is embedded"
        )


def _load_prepared(spec: DatasetSpec, config: DataConfig) -> Dataset:
    folder = find_prepared(spec, config.data_dir)
    if folder is None:
        reason = unreachable_reason(spec.archives[0].url)
        if reason:
            raise _CannotBeHad(spec, config.data_dir, reason)
        try:
            folder = prepare(spec.name, config.data_dir)
        except DataError as error:
            raise _CannotBeHad(spec, config.data_dir, str(error)) from error
    (train, test), mark = cached(
        folder,
        (spec.train_examples, spec.test_examples),
        config.cache_dir,
        lambda folder: read_prepared(spec, folder),
    )
    title, notice = title_and_notice(spec, folder.resolve(), mark)
    return _assemble(spec, train, test, title, str(folder.resolve()), mark, notice)


def _load_embedded(spec: DatasetSpec, config: DataConfig, reason: str) -> Dataset:
    """An embedded data set; `reason`: why it stands in for another one, else empty."""
    assert spec.load is not None
    train, test = spec.load()
    title, notice = spec.title, ""
    if reason:
        wanted = DATASETS[FIRST_CHOICE]
        title = f"{spec.title} ({wanted.title} not at hand)"
        notice = (
            f"{wanted.title} IS NOT AT HAND ({reason}; nothing prepared in "
            f"{data_folder(config.data_dir)}): this run uses the small {spec.title} instead. "
            f"For {wanted.title} use --data-dir, or physjax prepare --archive."
        )
    source = f"{spec.load.__module__}.{spec.load.__qualname__}"
    return _assemble(spec, train, test, title, source, fingerprint(train, test), notice)


def _assemble(
    spec: DatasetSpec,
    train: Split,
    test: Split,
    title: str,
    source: str,
    mark: str,
    notice: str,
) -> Dataset:
    for split, count, which in (
        (train, spec.train_examples, "training"),
        (test, spec.test_examples, "test"),
    ):
        check_split(split, count, spec.num_classes, f"the {which} images of {spec.title}")
    info = DatasetInfo(
        name=spec.name,
        title=title,
        num_classes=spec.num_classes,
        class_names=spec.class_names,
        mean=spec.mean,
        std=spec.std,
        mirror=spec.mirror,
        version=spec.version,
        source=source,
        fingerprint=mark,
        notice=notice,
        native=spec.native,
    )
    return Dataset(train, test, info)
