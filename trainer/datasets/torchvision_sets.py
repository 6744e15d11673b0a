"""Data sets of torchvision by name, in torchvision's own layout: it reads or lists them, Basin decodes and shuffles.

What torchvision holds in memory as arrays stays in the rank, and a request takes its images' pixels along. Of sets that
are files only the names are listed: `loader=str`, torchvision's own parameter, gives the path instead of the image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torchvision  # type: ignore[import-untyped]
from filelock import FileLock

from trainer.contract.data import TorchvisionData, TorchvisionName
from trainer.datasets.catalogue import Found, Indices, digest, named
from trainer.datasets.patience import waiting_for
from trainer.datasets.references import ImageFile, Pixels, Reference
from trainer.datasets.roots import DataRoots, shown, unreadable
from trainer.errors import first_line

Arguments = dict[str, Any]
FIRST, SECOND = {"train": True}, {"train": False}


@dataclass(frozen=True, kw_only=True)
class _Known:
    """One data set: its class in torchvision, and the arguments that choose each split."""

    kind: str
    train: Arguments
    validation: Arguments | None = None
    test: Arguments
    loads_by: str | None = None
    """"loader" if the class takes one, or the attribute with its (path, label) pairs; None: arrays in memory."""


def _two(kind: str) -> _Known:
    return _Known(kind=kind, train=FIRST, test=SECOND)


def _named(kind: str, train: str, validation: str | None, test: str, loads_by: str | None = None) -> _Known:
    return _Known(
        kind=kind, train={"split": train}, validation={"split": validation} if validation else None,
        test={"split": test}, loads_by=loads_by,
    )  # fmt: skip


KNOWN: dict[TorchvisionName, _Known] = {
    "cifar10": _two("CIFAR10"),
    "cifar100": _two("CIFAR100"),
    "country211": _named("Country211", "train", "valid", "test", "loader"),
    "dtd": _named("DTD", "train", "val", "test", "loader"),
    "fashion_mnist": _two("FashionMNIST"),
    "fgvc_aircraft": _named("FGVCAircraft", "train", "val", "test", "loader"),
    "flowers102": _named("Flowers102", "train", "val", "test", "loader"),
    "food101": _named("Food101", "train", None, "test", "loader"),
    "gtsrb": _named("GTSRB", "train", None, "test", "_samples"),
    "kmnist": _two("KMNIST"),
    "mnist": _two("MNIST"),
    "oxford_iiit_pet": _named("OxfordIIITPet", "trainval", None, "test", "_images"),
    "stl10": _named("STL10", "train", None, "test"),
    "svhn": _named("SVHN", "train", None, "test"),
    "usps": _two("USPS"),
}


def find(data: TorchvisionData, roots: DataRoots, getting_on: Callable[[], None]) -> Found:
    """Raises TrainerError(data_unreadable) where the set is not there, or is not whole."""
    root = roots.find("data.path", data.path, holding="the data set as torchvision keeps it")
    known = KNOWN[data.name]

    def catalogue(arguments: Arguments) -> _Arrays | _Files:
        dataset = waiting_for(lambda: _opened(data, root, known, arguments), getting_on)
        if known.loads_by is None:
            return _Arrays(dataset)
        return _Files(_pairs(dataset, known.loads_by), data.path, root, roots)

    train = catalogue(known.train)
    validation = catalogue(known.validation) if known.validation is not None and data.held_out is None else None
    return Found(
        train=train, validation=validation, test=catalogue(known.test) if data.test else None,
        num_classes=int(train.labels.max()) + 1,
    )  # fmt: skip


def _opened(data: TorchvisionData, root: str, known: _Known, arguments: Arguments) -> Any:
    kind = getattr(torchvision.datasets, known.kind)
    options = {**arguments, **({"loader": str} if known.loads_by == "loader" else {})}
    try:
        if not data.download:
            return kind(root, download=False, **options)
        with FileLock(os.path.join(root, f".{data.name}.lock")):  # of a machine's ranks, one fetches
            return kind(root, download=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # of reading, unpickling, unpacking and fetching: torchvision lets all of them through
        raise unreadable(_not_whole(data, root, known, error)) from error


def _not_whole(data: TorchvisionData, root: str, known: _Known, error: Exception) -> str:
    where = f"data.path {named(data.path, root)}"
    if data.download:
        return (
            f"{where}: {data.name} could not be fetched or read: {first_line(error)}. Look at the network and the "
            "folder, then resume."
        )
    why = first_line(error).split(". ")[0]  # without torchvision's own advice
    command = f"torchvision.datasets.{known.kind}({shown(root)!r}, download=True)"
    return (
        f"{where} holds no whole {data.name} as torchvision keeps it ({why}). Put it there on every "
        f"machine, by `python -c 'import torchvision; {command.replace(chr(39), chr(34))}'` for each split, or set "
        "`data.download` to let the run fetch it."
    )


def _pairs(dataset: Any, loads_by: str) -> Sequence[tuple[str, int]]:
    """Path and label of each image."""
    if loads_by == "loader":
        return [(str(path), int(label)) for path, label in (dataset[i] for i in range(len(dataset)))]
    if loads_by == "_images":
        return [(str(path), label) for path, label in zip(dataset._images, dataset._labels, strict=True)]
    return [(str(path), label) for path, label in getattr(dataset, loads_by)]


class _Arrays:
    """Images in memory."""

    def __init__(self, dataset: Any) -> None:
        pixels: npt.NDArray[np.uint8] = np.asarray(dataset.data)
        if pixels.ndim == 4 and pixels.shape[1] == 3:  # SVHN and STL10 have the channels first
            pixels = pixels.transpose(0, 2, 3, 1)
        self._pixels = pixels
        self.labels: Indices = np.asarray(getattr(dataset, "targets", getattr(dataset, "labels", None)), dtype=np.int64)

    def references(self, indices: Indices) -> list[Pixels]:
        return [Pixels(self._pixels[index]) for index in indices.tolist()]

    def complaint(self, index: int, why: str) -> str:
        return f"Image {index} {why}."

    def fingerprint(self) -> int:
        few = self._pixels[:: max(1, len(self._pixels) // 64)]
        return digest([self.labels.tobytes(), str(self._pixels.shape), np.ascontiguousarray(few).tobytes()])


class _Files:
    """Images in files below `root`."""

    def __init__(self, pairs: Sequence[tuple[str, int]], written: str, root: str, roots: DataRoots) -> None:
        self._paths = [path for path, _ in pairs]
        self.labels: Indices = np.array([label for _, label in pairs], dtype=np.int64)
        self._written, self._root = written, root
        for folder in sorted({os.path.dirname(path) for path in self._paths}):
            if not roots.holds(folder):
                raise unreadable(f"{shown(folder)} is a link out of {roots.named}: copy what it names.")

    def references(self, indices: Indices) -> list[Reference]:
        return [ImageFile(self._paths[index]) for index in indices.tolist()]

    def complaint(self, index: int, why: str) -> str:
        path = self._paths[index]
        written = os.path.join(self._written, os.path.relpath(path, self._root))
        return f"{named(written, path)} {why}. Fetch the data set anew."

    def fingerprint(self) -> int:
        return digest([self.labels.tobytes(), *(os.path.relpath(path, self._root) for path in self._paths)])
