"""From published files to images: which file is which, and whether it is the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physjax.data.cifar import is_published, read_cifar, unpacked
from physjax.data.idx import read_idx
from physjax.data.raw import RawData, unpacked_limit
from physjax.data.spec import Archive, DatasetSpec
from physjax.data.svhn import read_svhn
from physjax.data.types import DataError
from physjax.files import file_sha256


@dataclass(frozen=True)
class Source:
    """A file as published, or a folder that it was unpacked to."""

    path: Path
    originals: tuple[Archive, ...]
    """What it should be, one of these."""


def read_archives(
    spec: DatasetSpec, paths: Sequence[Path], unverified: bool = False
) -> tuple[RawData, bool]:
    """Read the published files of a data set.

    Args:
      spec: the data set.
      paths: its files, packed or unpacked, or folders that hold them.
      unverified: whether files are taken too that are not the published ones, byte for byte.

    Returns:
      The images, and whether the files are the published ones.

    Raises:
      DataError: a file is missing, damaged, of another data set or not the published one.
    """
    if spec.layout == "embedded":
        raise DataError(f"{spec.title} is embedded: there is nothing to prepare")
    sources = _locate(spec, paths)
    reasons = [reason for source in sources if (reason := _differs(spec, source))]
    if reasons and not unverified:
        raise DataError(
            f"{reasons[0]}. With --unverified it is taken all the same, and every title and record "
            "then says so"
        )
    files, limit = [source.path for source in sources], unpacked_limit(spec)
    try:
        if spec.layout == "cifar":
            data = read_cifar(spec, files[0], limit)
        else:
            data = (read_idx if spec.layout == "idx" else read_svhn)(spec, files, limit)
    except MemoryError as error:
        raise DataError(f"{_listed(files)}: no memory to read it") from error
    _check(spec, data, files)
    return data, not reasons


def _check(spec: DatasetSpec, data: RawData, files: Sequence[Path]) -> None:
    for split, count in ((data.train, spec.train_examples), (data.test, spec.test_examples)):
        labels = split.labels["label"]
        if len(split.images) != count or len(labels) != count:
            raise DataError(
                f"{_listed(files)}: {len(split.images)} images and {len(labels)} labels, where "
                f"{spec.title} has {count}"
            )
        if not 0 <= labels.min() <= labels.max() < spec.num_classes:
            raise DataError(
                f"{_listed(files)}: labels from {labels.min()} to {labels.max()}, where "
                f"{spec.title} has {spec.num_classes} classes from 0"
            )


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _locate(spec: DatasetSpec, paths: Sequence[Path]) -> list[Source]:
    """The file of each archive in the table, in its order; unpacked ones count too."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"there is no archive {path}")
        if path.is_dir():
            files += sorted(p for p in path.iterdir() if p.is_file())
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path} is neither a file nor a folder")
    if spec.layout == "cifar":
        return [_locate_cifar(spec, paths, files)]
    by_name = {file.name.removesuffix(".gz"): file for file in files}
    missing = [a.name for a in spec.archives if a.name.removesuffix(".gz") not in by_name]
    if missing:
        raise DataError(f"{_listed(paths)}: {spec.title} needs {', '.join(missing)} too")
    return [Source(by_name[a.name.removesuffix(".gz")], (a,)) for a in spec.archives]


def _locate_cifar(spec: DatasetSpec, paths: Sequence[Path], files: Sequence[Path]) -> Source:
    known = (*spec.archives, *spec.alternatives)
    if len(paths) == 1 and paths[0].is_file():
        return Source(paths[0], known)
    by_name = {file.name: file for file in files}
    for archive in known:
        if archive.name in by_name:
            return Source(by_name[archive.name], (archive,))
    for path in paths:
        if path.is_dir() and unpacked(spec, path):
            return Source(path, known)
    raise DataError(
        f"{_listed(paths)}: {spec.title} needs {' or '.join(a.name for a in known)}, or the folder "
        "that one of them unpacks to"
    )


def _differs(spec: DatasetSpec, source: Source) -> str:
    """Why a source is not the published one; "" where it is."""
    path = source.path
    names = " or ".join(archive.name for archive in source.originals)
    if path.is_dir():
        contents = unpacked(spec, path)
        if contents is not None and is_published(*contents, unpacked_limit(spec)):
            return ""
        checked = contents is not None and contents[0].md5
        return (
            f"the files in {path} are not those of {names}"
            if checked
            else f"no checksums are published of the unpacked files in {path}, but of {names}"
        )
    size = path.stat().st_size
    same_size = [archive for archive in source.originals if archive.size == size]
    if not same_size:
        sizes = " or ".join(f"{archive.size:,}" for archive in source.originals)
        return f"{path} is not the published {names}: it has {size:,} bytes, not {sizes}"
    digest = file_sha256(path)
    if any(archive.sha256 == digest for archive in same_size):
        return ""
    return (
        f"{path} is not the published {names}: its SHA-256 is {digest}, not {same_size[0].sha256}"
    )
