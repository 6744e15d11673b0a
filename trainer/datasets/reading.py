"""Reads and transforms the images of a request: in a process of the loader's, or in the worker itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from trainer import randomness
from trainer.datasets.decoding import Undecodable
from trainer.datasets.references import Reference
from trainer.datasets.transforms import Transforms


class Request(NamedTuple):
    """Images to read together. Says where each is, so that a process needs no index of the data set."""

    references: list[Reference]
    places: list[tuple[int, int, int]] | None
    """(seed, epoch, image) of each, which decides its augmentation; None: without augmentation."""


@dataclass(frozen=True)
class Unreadable:
    """The first image of a request that could not be read. Returned, for an exception would lose its type."""

    position: int
    why: str


Read = Tensor | Unreadable
"""uint8 of shape (images, 3, side, side)."""


class Reader(Dataset[Read]):
    def __init__(self, transforms: Transforms) -> None:
        self._transforms = transforms
        self.side = transforms.side

    def __getitems__(self, request: Request) -> Read:
        pixels = torch.empty(len(request.references), 3, self.side, self.side, dtype=torch.uint8)
        with randomness.streams_put_back():
            for position, reference in enumerate(request.references):
                try:
                    image = reference.image()
                except Undecodable as error:
                    return Unreadable(position, str(error))
                pixels[position] = self._transformed(image, request.places, position)
        return pixels

    def _transformed(self, image: Image, places: Sequence[tuple[int, int, int]] | None, position: int) -> Tensor:
        if places is None:
            return self._transforms.plain(image)
        randomness.seed_augmentation(*places[position])
        return self._transforms.augmenting(image)
