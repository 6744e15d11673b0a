"""webdataset's tar files, indexed once at the start: any sample is then read by its place in its file.

So a run of any number of ranks sees the images in the order of every other source, resumes at any step and shuffles
over all shards, which webdataset's own streaming does not give. It takes tarfile of the standard library, which says
where a member's data begin; of webdataset only its conventions: braces, and how members make a sample.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from trainer.contract.data import WebDatasetData
from trainer.datasets.catalogue import Answers, Found, Indices, digest
from trainer.datasets.references import FilePart
from trainer.datasets.roots import DataRoots, shown, unreadable
from trainer.datasets.shard_names import opened, shards

IMAGES = ("jpg", "jpeg", "png", "webp")
MAX_LABEL_BYTES = 1024**2
"""Of a .cls or .json file."""


class Sample(NamedTuple):
    name: str
    """The image's in its tar file."""
    shard: int
    start: int
    num_bytes: int
    label: int | str


def find(data: WebDatasetData, roots: DataRoots, getting_on: Callable[[], None]) -> Found:
    """Raises TrainerError(data_unreadable)."""
    train = _Indexed(data, "train", data.train, roots, getting_on)
    answers = Answers(train.stored_labels(), f"data.train {shown(data.train)}")

    def others(field: str, pattern: str | None) -> Samples | None:
        return Samples(_Indexed(data, field, pattern, roots, getting_on), answers) if pattern is not None else None

    return Found(
        train=Samples(train, answers), validation=others("validation", data.validation),
        test=others("test", data.test), num_classes=answers.num_classes, class_names=answers.names,
    )  # fmt: skip


class _Indexed:
    """The samples of a split, in the order of the shards and of the members in them."""

    def __init__(
        self, data: WebDatasetData, field: str, pattern: str, roots: DataRoots, getting_on: Callable[[], None]
    ) -> None:
        self.paths = shards(f"data.{field}", pattern, roots)
        self.where = f"data.{field} {shown(pattern)}"
        samples: list[Sample] = []
        for number, path in enumerate(self.paths):
            getting_on()
            samples += _samples_of(path, number, data.label_key)
        if not samples:
            raise unreadable(f"{self.where}: no sample with an image in {len(self.paths)} tar files. {_CONVENTION}")
        kinds = {type(sample.label) for sample in samples}
        if len(kinds) > 1:
            raise unreadable(f"{self.where}: some labels are whole numbers, others are names. Take one kind.")
        self.samples = samples

    def stored_labels(self) -> np.ndarray[tuple[int], np.dtype[np.int64 | np.str_]]:
        return np.array([sample.label for sample in self.samples])


class Samples:
    """What the index found, with numbers for labels."""

    def __init__(self, found: _Indexed, answers: Answers) -> None:
        self._paths, self._names = found.paths, [sample.name for sample in found.samples]
        self.labels = answers.of(found.stored_labels(), lambda index: self._shown(index, found.samples[index].shard))
        self._shards: Indices = np.array([sample.shard for sample in found.samples])
        self._starts: Indices = np.array([sample.start for sample in found.samples])
        self._sizes: Indices = np.array([sample.num_bytes for sample in found.samples])

    def references(self, indices: Indices) -> list[FilePart]:
        return [
            FilePart(self._paths[shard], start, size)
            for shard, start, size in zip(
                self._shards[indices].tolist(),
                self._starts[indices].tolist(),
                self._sizes[indices].tolist(),
                strict=True,
            )
        ]

    def complaint(self, index: int, why: str) -> str:
        return f"{self._shown(index, int(self._shards[index]))} {why}. Write the tar file anew, without it or whole."

    def fingerprint(self) -> int:
        places = (self._shards.tobytes(), self._starts.tobytes(), self._sizes.tobytes(), self.labels.tobytes())
        return digest([*places, *map(os.path.basename, self._paths)])

    def _shown(self, index: int, shard: int) -> str:
        return f"{shown(self._paths[shard])}: {shown(self._names[index])}"


_CONVENTION = "A sample is NAME.jpg (jpeg, png, webp) followed by NAME.cls or NAME.json."


def _samples_of(path: str, shard: int, label_key: str) -> list[Sample]:
    """Members in a row that share the name up to the first dot of the file's name make a sample, as in webdataset."""
    with opened(path) as tar:
        return [*_grouped(tar, path, shard, label_key)]


def _grouped(tar: tarfile.TarFile, path: str, shard: int, label_key: str) -> Iterator[Sample]:
    name, parts = "", dict[str, tarfile.TarInfo]()
    for member in _members(tar, path):
        folder, file = os.path.split(member.name)
        stem, dot, extension = file.partition(".")
        if not member.isreg() or not dot or not stem:
            continue
        here = os.path.join(folder, stem)
        if here != name:
            yield from _sample(tar, path, shard, parts, label_key)
            name, parts = here, {}
        parts[extension.lower()] = member
    yield from _sample(tar, path, shard, parts, label_key)


def _members(tar: tarfile.TarFile, path: str) -> Iterator[tarfile.TarInfo]:
    size = os.path.getsize(path)
    for member in tar:
        if member.offset_data + member.size > size:  # tarfile itself takes a file cut within its last member
            raise tarfile.ReadError(f"{member.name} is cut off")
        yield member
    with open(
        path, "rb"
    ) as file:  # nor does it miss the block of zeros at the end, without which members may be missing
        file.seek(max(0, size - tarfile.BLOCKSIZE))
        if any(file.read()):
            raise tarfile.ReadError("its end is missing")


def _sample(
    tar: tarfile.TarFile, path: str, shard: int, parts: dict[str, tarfile.TarInfo], label_key: str
) -> Iterator[Sample]:
    images = [parts[extension] for extension in IMAGES if extension in parts]
    if not images:
        return
    image = images[0]
    where = f"{shown(path)}: {shown(image.name)}"
    label: int | str
    if "cls" in parts:
        label = _class_of(where, _read(tar, parts["cls"], where))
    elif "json" in parts:
        label = _label_in(where, _read(tar, parts["json"], where), label_key)
    else:
        raise unreadable(f"{where} has no label. {_CONVENTION}")
    yield Sample(image.name, shard, image.offset_data, image.size, label)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> bytes:
    file = tar.extractfile(member)
    if file is None or member.size > MAX_LABEL_BYTES:
        raise unreadable(f"{where}: {shown(member.name)} is larger than {MAX_LABEL_BYTES} bytes. {_CONVENTION}")
    return file.read()


def _class_of(where: str, content: bytes) -> int:
    try:
        return int(content)
    except ValueError:
        raise unreadable(f"{where}: its .cls holds {content[:20]!r}, must be a whole number. Mend it.") from None


def _label_in(where: str, content: bytes, label_key: str) -> int | str:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise unreadable(f"{where}: its .json is damaged ({error}). Write it anew.") from error
    label = document.get(label_key) if isinstance(document, dict) else None
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise unreadable(
            f"{where}: its .json holds no label under {label_key!r}, must be a whole number or a name: set "
            "`data.label_key`."
        )
    return label
