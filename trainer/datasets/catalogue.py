"""What a source finds before training: its images, numbered and labelled, none of them decoded. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainer.datasets.references import Reference
from trainer.datasets.roots import shown, unreadable

Indices = npt.NDArray[np.int64]


class Catalogue(Protocol):
    """N images, numbered from 0 in an order that is the same wherever the data are the same."""

    @property
    def labels(self) -> Indices:
        """What the model should answer, (N,)."""

    def references(self, indices: Indices) -> Sequence[Reference]:
        """Where these images are."""

    def complaint(self, index: int, why: str) -> str:
        """Sentences that name the image, continue with `why` and say what to do."""

    def fingerprint(self) -> int:
        """63 bits that differ where the images or their order do, as far as that is seen without reading them."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The splits of a source. `validation` None: a share of `train` is held out; `test` None: nothing is tested."""

    train: Catalogue
    validation: Catalogue | None
    test: Catalogue | None
    num_classes: int
    class_names: Sequence[str] = ()
    """By label; empty where the source names none."""

    def fingerprint(self) -> int:
        return digest(part.fingerprint() for part in (self.train, self.validation, self.test) if part is not None)


def digest(parts: Iterable[bytes | str | int]) -> int:
    """63 bits of all parts and their order."""
    summed = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        summed.update(len(data).to_bytes(8, "big") + data)
    return int.from_bytes(summed.digest(), "big") >> 1


def named(written: str, path: str) -> str:
    """A file as the person wrote it, and as it is where that differs."""
    return shown(written) if shown(written) == shown(path) else f"{shown(written)} ({shown(path)})"


class Answers:
    """Numbers the labels that a data set holds: whole numbers as they are, class names in the order of the alphabet."""

    MAX_CLASSES = 1_000_000

    def __init__(self, training: npt.NDArray[Any], shown_as: str, names: Sequence[str] | None = None) -> None:
        """`training`: labels of the training images. `shown_as` begins sentences. `names`: of all classes, where whole
        numbers have them. Raises TrainerError(data_unreadable)."""
        self._shown_as = shown_as
        self._numbers: dict[str, int] | None = None
        if training.dtype.kind in "US":
            self._numbers = {name: i for i, name in enumerate(sorted(set(training.tolist())))}
            self.num_classes = len(self._numbers)
            names = list(self._numbers)
        else:
            self.num_classes = len(names) if names else (int(training.max()) + 1 if len(training) else 0)
        self.names = [shown(name) for name in names or ()]
        """By label; empty where the data set has none."""
        if not 0 < self.num_classes <= self.MAX_CLASSES:
            raise unreadable(
                f"{shown_as}: the labels make {self.num_classes} classes, must be 1 to {self.MAX_CLASSES}: number them "
                "from 0, without gaps."
            )

    def of(self, labels: npt.NDArray[Any], what: Callable[[int], str]) -> Indices:
        """(N,). `what` names an image for a sentence. Raises TrainerError(data_unreadable) for a class that training
        lacks."""
        known = self._numbers
        if known is not None:
            numbers = np.array([known.get(name, -1) for name in map(str, labels.tolist())], dtype=np.int64)
        else:
            kind = labels.dtype.kind
            numbers = labels.astype(np.int64) if kind in "iu" else np.full(len(labels), -1, dtype=np.int64)
        wrong = np.flatnonzero((numbers < 0) | (numbers >= self.num_classes))
        if len(wrong):
            first = int(wrong[0])
            allowed = "a class of the training images" if known is not None else f"0 to {self.num_classes - 1}"
            raise unreadable(
                f"{self._shown_as}: {what(first)} has the label {labels[first]!s}, must be {allowed} ({len(wrong)} "
                "such images). Mend the labels, or leave these images out."
            )
        return numbers
