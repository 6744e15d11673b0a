"""What an image folder holds: one folder per class, images in it at any depth, in the order of their names.

Fast for 10,000 classes and a million files: one `scandir` a folder, and a look at a single file only where it is a
link. The index keeps about 30 bytes a file. Loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trainer.datasets.catalogue import digest
from trainer.datasets.roots import DataRoots, shown, unreadable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision's IMG_EXTENSIONS (a test compares). Other files are passed over, and so is all that is hidden."""
LOOKED_INTO = 1_000
"""Class folders that `must_hold_images` opens: a second or two on a slow file system."""


class Problem(StrEnum):
    """Why a folder cannot be trained on."""

    no_classes = "no_classes"
    empty_class = "empty_class"
    bad_link = "bad_link"
    no_file = "no_file"
    no_access = "no_access"


Complain = Callable[[Problem, str, str], None]
"""Is told the problem, the path and a sentence; may raise."""


def refuse(problem: Problem, path: str, sentence: str) -> None:
    """Complains by ending the run."""
    raise unreadable(sentence)


@dataclass(frozen=True, kw_only=True)
class FolderFiles:
    """The images of a folder, numbered from 0: class after class, each by name."""

    folder: str
    """Absolute."""
    written: str
    """The folder as the person wrote it."""
    classes: list[str]
    """Names of the class folders, sorted."""
    counts: npt.NDArray[np.int64]
    """Images of each class."""
    names: bytes
    """Paths of the images below their class folders, one after the other."""
    ends: npt.NDArray[np.int64]
    """Where each of them ends in `names`."""
    ignored: int
    """Files passed over: hidden ones, and those with other extensions."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.classes), dtype=np.int64), self.counts)

    def below(self, index: int) -> str:
        """The image's path below `folder`."""
        start = int(self.ends[index - 1]) if index else 0
        label = int(np.searchsorted(np.cumsum(self.counts), index, side="right"))
        return os.path.join(self.classes[label], os.fsdecode(self.names[start : int(self.ends[index])]))

    def paths(self, indices: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> list[str]:
        """Absolute paths of the images `indices`, whose `labels` the caller has at hand."""
        starts = np.where(indices > 0, self.ends[indices - 1], 0)
        return [
            f"{self.folder}/{self.classes[label]}/{os.fsdecode(self.names[start:end])}"
            for label, start, end in zip(labels.tolist(), starts.tolist(), self.ends[indices].tolist(), strict=True)
        ]

    def shown(self, index: int) -> str:
        """The image's path as the person would write it."""
        return shown(os.path.join(self.written, self.below(index)))

    def fingerprint(self) -> int:
        """63 bits of all names and their order."""
        return digest(["\0".join(self.classes), self.counts.tobytes(), self.names])


def scan(
    folder: str, written: str, roots: DataRoots, *, complain: Complain = refuse,
    getting_on: Callable[[], None] = lambda: None,
) -> FolderFiles:  # fmt: skip
    """Finds all images; `getting_on` is called for each class. Raises TrainerError(data_unreadable) by `refuse`."""
    return _Scan(folder, written, roots, complain).run(getting_on)


def must_hold_images(folder: str, written: str, roots: DataRoots) -> None:
    """Looks for one image in each class, of the first 1,000. Raises TrainerError(data_unreadable)."""
    scan = _Scan(folder, written, roots, refuse)
    for name in scan.class_names()[:LOOKED_INTO]:
        if next(scan.images_of(name), None) is None:
            scan.say_empty(name)


@dataclass
class _Scan:
    folder: str
    written: str
    roots: DataRoots
    complain: Complain
    ignored: int = 0
    loose_images: int = 0
    classes: list[str] = field(default_factory=list)

    def run(self, getting_on: Callable[[], None]) -> FolderFiles:
        counts: list[int] = []
        names: list[bytes] = []
        lengths: list[int] = []
        for name in self.class_names():
            getting_on()
            found = sorted(self.images_of(name))
            if not found:
                self.say_empty(name)
                continue
            encoded = [os.fsencode(below) for below in found]
            self.classes.append(name)
            counts.append(len(found))
            names.append(b"".join(encoded))
            lengths += map(len, encoded)
        return FolderFiles(
            folder=self.folder, written=self.written, classes=self.classes, counts=np.array(counts, dtype=np.int64),
            names=b"".join(names), ends=np.cumsum(np.array(lengths, dtype=np.int64)), ignored=self.ignored,
        )  # fmt: skip

    def class_names(self) -> list[str]:
        found = [e.name for e in self._entries(self.folder, "") if self._is_class(e)]
        if not found:
            hint = f"; its {self.loose_images} images lie beside each other" if self.loose_images else ""
            self._say(
                Problem.no_classes, "", f"holds no class folder{hint}: make one folder per class and put its images in"
            )
        return sorted(found)

    def images_of(self, name: str) -> Iterator[str]:
        """Paths below the folder of the class, in no order."""
        return self._images(os.path.join(self.folder, name), "", (os.path.realpath(self.folder),))

    def say_empty(self, name: str) -> None:
        sentence = "is a class without an image: remove the folder, or put its images there"
        self._say(Problem.empty_class, name, sentence)

    def _is_class(self, entry: os.DirEntry[str]) -> bool:
        if entry.is_symlink() and not self._leads_inside(entry, entry.name):
            return False
        if entry.is_dir():
            return True
        self.ignored += 1
        self.loose_images += entry.name.lower().endswith(EXTENSIONS)
        return False

    def _images(self, folder: str, below: str, entered: tuple[str, ...]) -> Iterator[str]:
        """Paths below the class folder. `entered`: what links have led into, to find those that go in a circle."""
        for entry in self._entries(folder, below):
            name = f"{below}{entry.name}"
            inside = entered
            if entry.is_symlink():
                if not self._leads_inside(entry, name):
                    continue
                if entry.is_dir():
                    inside = (*entered, os.path.realpath(entry.path))
                    if inside[-1] in entered:
                        self._say_of(entry, Problem.bad_link, "is a link that leads in a circle: remove it")
                        continue
            if entry.is_dir():
                yield from self._images(entry.path, f"{name}/", inside)
            elif not entry.name.lower().endswith(EXTENSIONS):
                self.ignored += 1
            elif entry.is_file():
                yield name
            else:
                self._say_of(entry, Problem.no_file, "has the name of an image and is no file: remove it")

    def _entries(self, folder: str, below: str) -> Iterator[os.DirEntry[str]]:
        """What is not hidden."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        self.ignored += 1
                    else:
                        yield entry
        except OSError as error:
            sentence = f"cannot be read ({error.strerror}): give the service's user the right to"
            self._say(Problem.no_access, os.path.relpath(folder, self.folder), sentence)

    def _leads_inside(self, entry: os.DirEntry[str], name: str) -> bool:
        if not os.path.exists(entry.path):
            self._say_of(entry, Problem.bad_link, "is a link to nothing: remove or mend it")
            return False
        if self.roots.holds(entry.path):
            return True
        target = shown(os.path.realpath(entry.path))
        self._say_of(
            entry, Problem.bad_link,
            f"is a link to {target}, outside {self.roots.named}: copy what it names, or ask for another root in "
            "BASIN_DATA_ROOTS",
        )  # fmt: skip
        return False

    def _say_of(self, entry: os.DirEntry[str], problem: Problem, sentence: str) -> None:
        self._say(problem, os.path.relpath(entry.path, self.folder), sentence)

    def _say(self, problem: Problem, below: str, sentence: str) -> None:
        path = os.path.join(self.written, below) if below not in ("", ".") else self.written
        absolute = os.path.join(self.folder, below) if below not in ("", ".") else self.folder
        also = "" if path == absolute else f" ({shown(absolute)})"
        self.complain(problem, shown(path), f"{shown(path)}{also} {sentence}.")
