"""What a source finds before training: its images, numbered and labelled, none of them decoded. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainer.datasets.references import Reference
from trainer.datasets.roots import shown

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
