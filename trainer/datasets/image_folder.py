"""Folders of images, one folder per class: found at the start, as a catalogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainer.contract.data import ImageFolderData
from trainer.datasets.catalogue import Found, Indices, named
from trainer.datasets.folder_files import FolderFiles, scan
from trainer.datasets.references import ImageFile
from trainer.datasets.roots import DataRoots, shown, unreadable


def find(data: ImageFolderData, roots: DataRoots, getting_on: Callable[[], None]) -> Found:
    """Raises TrainerError(data_unreadable)."""

    def files_of(field: str, written: str) -> FolderFiles:
        return scan(roots.find(f"data.{field}", written), written, roots, getting_on=getting_on)

    train = files_of("train", data.train)

    def others(field: str, written: str | None) -> FolderCatalogue | None:
        if written is None:
            return None
        files = files_of(field, written)
        return FolderCatalogue(files, _answers(train, files))

    return Found(
        train=FolderCatalogue(train, np.arange(len(train.classes))), validation=others("validation", data.validation),
        test=others("test", data.test), num_classes=len(train.classes),
        class_names=[shown(name) for name in train.classes],
    )  # fmt: skip


def _answers(train: FolderFiles, others: FolderFiles) -> Indices:
    """The training classes' numbers of another folder's classes."""
    number = {name: i for i, name in enumerate(train.classes)}
    unknown = [name for name in others.classes if name not in number]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise unreadable(
            f"{shown(others.written)}/{shown(unknown[0])}{more} is a class that {shown(train.written)} has no "
            "folder of: add its training images, or remove it."
        )
    return np.array([number[name] for name in others.classes], dtype=np.int64)


class FolderCatalogue:
    """`answers`: label of each class folder."""

    def __init__(self, files: FolderFiles, answers: Indices) -> None:
        self._files = files
        self._folders = files.labels  # numbers of the class folders, one entry an image
        self.labels = answers[self._folders]

    def references(self, indices: Indices) -> list[ImageFile]:
        return [ImageFile(path) for path in self._files.paths(indices, self._folders[indices])]

    def complaint(self, index: int, why: str) -> str:
        (file,) = self.references(np.array([index]))
        return (
            f"{named(self._files.shown(index), file.path)} {why}. Replace or remove it; `basin data check "
            f"{shown(self._files.written)}` finds all such files."
        )

    def fingerprint(self) -> int:
        return self._files.fingerprint()
