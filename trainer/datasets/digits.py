"""scikit-learn's digits, in memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from trainer.contract.data import DigitsData
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import DTYPES, VisionData
from trainer.datasets.in_memory import ImagesInMemory
from trainer.datasets.order import Indices, split
from trainer.errors import TrainerError

NUM_CLASSES = 10
LEVELS = 16
MEAN, STD = 0.3053, 0.3760  # of all 1,797 images, after division by 16


def load(spec: TrainingSpec, data: DigitsData, device: torch.device) -> VisionData:
    """Raises TrainerError: `data_unreadable`, or `spec_rejected_by_trainer` where the split cannot be made."""
    pixels, labels = read()
    train, validation = split(
        labels, validation_fraction=data.validation_fraction, split_seed=data.split_seed, train_size=data.train_size
    )
    scaled = torch.from_numpy((pixels / LEVELS - MEAN) / STD).unsqueeze(1)
    side = spec.model.image_size or scaled.shape[-1]
    if side != scaled.shape[-1]:
        scaled = interpolate(scaled, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    scaled = scaled.to(DTYPES[spec.precision])

    def subset(chosen: Indices) -> ImagesInMemory:
        return ImagesInMemory(pixels=scaled[chosen].to(device), labels=torch.from_numpy(labels[chosen]).to(device))

    return VisionData(
        train=subset(train), validation=subset(validation), num_classes=NUM_CLASSES, channels=1, side=side,
        class_names=[str(digit) for digit in range(NUM_CLASSES)],
    )  # fmt: skip


def read() -> tuple[npt.NDArray[np.float64], Indices]:
    """Pixels (1797, 8, 8) from 0 to 16, and labels, from the file that scikit-learn ships.

    The file is read without importing scikit-learn, which costs 2 s at every start (measured, 2 cores) and gives
    nothing else; a test compares with `sklearn.datasets.load_digits`.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise TrainerError(EndReason.data_unreadable, "The digits come with scikit-learn: install scikit-learn.")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        table = np.loadtxt(path, delimiter=",")
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
    except (OSError, ValueError) as error:
        raise TrainerError(
            EndReason.data_unreadable,
            f"{path} could not be read as the digits data: {error}. Install scikit-learn anew.",
        ) from error
