"""CIFAR-10 and CIFAR-100 as published: the binary and the Python version, packed or unpacked."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from physjax.data.pickles import read_pickle
from physjax.data.raw import Images, RawData, RawSplit, check_names, open_bounded, read_bounded
from physjax.data.spec import DatasetSpec
from physjax.data.types import DataError

MOST_MEMBERS = 1000
"""In an archive; the published ones have about ten. Each takes memory, even if it is empty."""


@dataclass(frozen=True)
class Form:
    """One of the forms in which a CIFAR is published."""

    folder: str
    """Where its files lie in the archive."""
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    """The file of class names; for the binary CIFAR-100, of the fine ones."""
    coarse_names: str = ""
    md5: dict[str, str] = field(default_factory=dict)
    """Of the unpacked files, where torchvision publishes them."""

    @property
    def files(self) -> tuple[str, ...]:
        """All that is read."""
        both = (self.names, self.coarse_names) if self.coarse_names else (self.names,)
        return (*self.train, *self.test, *both)

    @property
    def pickled(self) -> bool:
        """Whether this is the Python version."""
        return not self.train[0].endswith(".bin")


FORMS = {
    "cifar10": (
        Form(
            "cifar-10-batches-bin",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            ("test_batch.bin",),
            "batches.meta.txt",
        ),
        Form(
            "cifar-10-batches-py",
            tuple(f"data_batch_{i}" for i in range(1, 6)),
            ("test_batch",),
            "batches.meta",
            md5={
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "40351d587109b95175f43aff81a1287e",
                "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
            },
        ),
    ),
    "cifar100": (
        Form(
            "cifar-100-binary",
            ("train.bin",),
            ("test.bin",),
            "fine_label_names.txt",
            "coarse_label_names.txt",
        ),
        Form(
            "cifar-100-python",
            ("train",),
            ("test",),
            "meta",
            md5={
                "train": "16019d7e3df5f24257cddd939b257f8d",
                "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
                "meta": "7973b15100ade9c7d40fb424638fde48",
            },
        ),
    ),
}


def unpacked(spec: DatasetSpec, folder: Path) -> tuple[Form, Path] | None:
    """The form whose unpacked files a folder is or holds, and where they lie; None: of none."""
    for form in FORMS[spec.name]:
        for place in (folder, folder / form.folder):
            if all((place / name).is_file() for name in form.files):
                return form, place
    return None


def is_published(form: Form, place: Path, limit: int) -> bool:
    """Whether unpacked files are the published ones, as far as checksums of them are known."""
    return bool(form.md5) and all(
        md5(read_bounded(place / name, limit)) == expected for name, expected in form.md5.items()
    )


def md5(data: bytes) -> str:
    """MD5 in hexadecimal digits: against accidents, not against forgery."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def read_cifar(spec: DatasetSpec, source: Path, limit: int) -> RawData:
    """Both splits of a CIFAR.

    Args:
      spec: which one.
      source: an archive, or the folder that it was unpacked to.
      limit: the most bytes that are unpacked.

    Raises:
      DataError: files are missing, damaged, too large or of something else.
    """
    if source.is_dir():
        contents = unpacked(spec, source)
        if contents is None:
            raise DataError(f"{source} holds no unpacked {spec.title}")
        form, place = contents
        members = {name: read_bounded(place / name, limit) for name in form.files}
    else:
        form, members = _untar(spec, source, limit)
    read = _read_pickled if form.pickled else _read_binary
    data = read(spec, form, members, source)
    check_names(spec, data.names["label"], f"{source}: {form.names}")
    return data


def _untar(spec: DatasetSpec, path: Path, limit: int) -> tuple[Form, dict[str, bytes]]:
    """The files of a form, from a tar file that is read to its end so that truncation shows."""
    forms = {form.folder: form for form in FORMS[spec.name]}
    files: dict[str, dict[str, bytes]] = {folder: {} for folder in forms}
    try:
        with open_bounded(path, limit) as file:
            with tarfile.open(fileobj=file, mode="r|") as tar:  # type: ignore[call-overload]
                for number, member in enumerate(tar):
                    if number == MOST_MEMBERS:
                        raise DataError(f"{path} holds more than {MOST_MEMBERS} files")
                    folder, _, name = member.name.removeprefix("./").rpartition("/")
                    if folder in forms and name in forms[folder].files:
                        if name in files[folder]:
                            raise DataError(f"{path} holds {member.name} twice")
                        files[folder][name] = _content(path, tar, member, limit)
            # What follows the last member holds the checksum of a compressed file.
            while file.read(1 << 20):
                pass
    # tarfile raises ValueError and others for numbers that are none.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        known = ", ".join(f"{a.name} {a.size:,}" for a in (*spec.archives, *spec.alternatives))
        raise DataError(
            f"{path} is not a whole tar file ({type(error).__name__}: {error}); it has "
            f"{path.stat().st_size:,} bytes, the published files have: {known}"
        ) from error
    form = max(forms.values(), key=lambda form: len(files[form.folder]))
    missing = [name for name in form.files if name not in files[form.folder]]
    if missing:
        raise DataError(
            f"{path} is not {spec.archives[0].name}: it lacks {form.folder}/{', '.join(missing)}"
        )
    return form, files[form.folder]


def _content(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    # A sparse file may claim any number of zeros without holding them.
    if not member.isreg() or member.issparse():
        raise DataError(f"{path}: {member.name} is not a plain file")
    if not 0 <= member.size <= limit:
        raise DataError(f"{path}: {member.name} claims {member.size:,} bytes")
    content = tar.extractfile(member)
    data = content.read() if content is not None else b""
    if len(data) != member.size:
        raise DataError(f"{path}: {member.name} has {len(data):,} of {member.size:,} bytes")
    return data


def _split(columns: dict[str, np.ndarray], planes: np.ndarray) -> RawSplit:
    """From records [N, 3072], a plane after the other, and their labels by feature name."""
    images: Images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return RawSplit(images, {key: column.astype(np.int64) for key, column in columns.items()})


def _read_binary(spec: DatasetSpec, form: Form, members: dict[str, bytes], source: Path) -> RawData:
    """A record is one label (CIFAR-100: coarse, fine), then 3x32x32 bytes."""
    keys = {"coarse_label": form.coarse_names} if form.coarse_names else {}
    keys["label"] = form.names
    record = len(keys) + 3072

    def split(parts: Sequence[str]) -> RawSplit:
        data = b"".join(members[part] for part in parts)
        if len(data) % record:
            raise DataError(
                f"{source}: {', '.join(parts)} hold {len(data)} bytes, no multiple of {record}"
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, record)
        return _split({key: rows[:, i] for i, key in enumerate(keys)}, rows[:, len(keys) :])

    names = {key: _words(members[name].split(), source, name) for key, name in keys.items()}
    return RawData(split(form.train), split(form.test), names)


def _read_pickled(
    spec: DatasetSpec, form: Form, members: dict[str, bytes], source: Path
) -> RawData:
    """A batch is a dictionary of uint8 data [N, 3072] and lists of N labels."""
    keys = {"label": ("labels", "label_names")}
    if spec.name == "cifar100":
        keys = {
            "coarse_label": ("coarse_labels", "coarse_label_names"),
            "label": ("fine_labels", "fine_label_names"),
        }

    def split(parts: Sequence[str]) -> RawSplit:
        planes: list[np.ndarray] = []
        columns: dict[str, list[np.ndarray]] = {key: [] for key in keys}
        for part in parts:
            where = f"{source}: {form.folder}/{part}"
            batch = read_pickle(members[part], where)
            data = batch.get("data")
            if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
                raise DataError(f"{where} has no uint8 array data [N, 3072]")
            planes.append(data)
            for key, (label, _) in keys.items():
                columns[key].append(_labels(batch.get(label), len(data), f"{where}: {label}"))
        joined = {key: np.concatenate(column) for key, column in columns.items()}
        return _split(joined, np.concatenate(planes))

    meta = read_pickle(members[form.names], f"{source}: {form.folder}/{form.names}")
    names = {key: _words(meta.get(name), source, name) for key, (_, name) in keys.items()}
    return RawData(split(form.train), split(form.test), names)


def _labels(values: object, count: int, where: str) -> np.ndarray:
    if (
        not isinstance(values, list)
        or len(values) != count
        or not all(type(value) is int and 0 <= value < 256 for value in values)
    ):
        raise DataError(f"{where} are not {count} numbers from 0 to 255")
    return np.array(values, np.int64)


def _words(values: object, source: Path, name: str) -> list[str]:
    try:
        if isinstance(values, list) and all(isinstance(value, bytes) for value in values):
            return [value.decode() for value in values]
    except UnicodeDecodeError:
        pass
    raise DataError(f"{source}: {name} is not a list of names")
