"""The two data sets, in memory, split once and for all: images to train on, and a test set that only final runs see."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
import torch
from PIL import Image
from torch import Tensor

from trainer.datasets import digits
from trainer.datasets.image_set import VisionData
from trainer.datasets.in_memory import ImagesInMemory

CLASSES = 10
DIGITS_TEST = 500
TUNING_SHARE = 0.2
"""Of the training images, held back while rho and the learning rate are chosen."""
CIFAR = Path(os.environ.get("CIFAR10", "cifar10"))
"""A folder of train.parquet and test.parquet in Hugging Face's layout (`img` or `image` with bytes, `label`)."""


@dataclass(frozen=True)
class Pool:
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def data_of(name: str, train_size: int, *, tuning: bool) -> VisionData:
    """The first `train_size` of the shuffled training images, class by class alike.

    While tuning a fifth of them is the validation set; else all are trained on, the test set is measured at the end,
    and the validation set is one image that nobody looks at.
    """
    pool = digits_pool() if name == "digits" else cifar_pool()
    pixels, labels = pool.train
    chosen = balanced(labels.numpy(), train_size)
    held_back = round(TUNING_SHARE * train_size) if tuning else 1
    train = chosen[held_back:] if tuning else chosen
    return VisionData(
        train=ImagesInMemory(pixels=pixels[train], labels=labels[train]),
        validation=ImagesInMemory(pixels=pixels[chosen[:held_back]], labels=labels[chosen[:held_back]]),
        test=None if tuning else ImagesInMemory(pixels=pool.test[0], labels=pool.test[1]),
        num_classes=CLASSES, channels=pixels.shape[1], side=pixels.shape[-1],
    )  # fmt: skip


def balanced(labels: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Indices of `size` images, the classes in turn; a class that has no more is passed over."""
    number_in_class = np.empty(len(labels), dtype=np.int64)
    for label in range(CLASSES):
        members = np.flatnonzero(labels == label)
        number_in_class[members] = np.arange(len(members))
    return np.lexsort((labels, number_in_class))[:size]


@lru_cache
def digits_pool() -> Pool:
    pixels, labels = digits.read()
    order = np.random.default_rng(0).permutation(len(labels))
    scaled = torch.tensor((pixels[order] / digits.LEVELS - digits.MEAN) / digits.STD, dtype=torch.float32)
    scaled, named = scaled.unsqueeze(1), torch.from_numpy(labels[order])
    return Pool((scaled[DIGITS_TEST:], named[DIGITS_TEST:]), (scaled[:DIGITS_TEST], named[:DIGITS_TEST]))


@lru_cache
def cifar_pool() -> Pool:
    return Pool(*(_decoded(CIFAR / f"{part}.parquet") for part in ("train", "test")))


def _decoded(file: Path) -> tuple[Tensor, Tensor]:
    """Shuffled once, with seed 0; pixels in [-1, 1]."""
    if not file.is_file():
        raise SystemExit(f"{file} is not there: set CIFAR10 to a folder with train.parquet and test.parquet")
    table = pyarrow.parquet.read_table(file)
    images = table.column("image" if "image" in table.column_names else "img").to_pylist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in images])
    labels = table.column("label").to_numpy()
    order = np.random.default_rng(0).permutation(len(labels))
    scaled = torch.from_numpy(pixels[order]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    return scaled.contiguous(), torch.from_numpy(labels[order].astype(np.int64))
