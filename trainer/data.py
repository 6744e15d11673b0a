"""Data: the images of a run, and which of them belong to which step, rank and micro-batch.

The order of training is one endless stream: the permutation of epoch 0, then that of epoch 1, and so on, each a
function of (seed, epoch). The global batch of step t is positions [t*B, (t+1)*B) of it. So batches cross the ends of
epochs, may be larger than the data set, and no image is dropped or seen more often than its neighbours; and any rank
finds any batch without having read the ones before.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from trainer import randomness
from trainer.contract.data import DigitsData
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec
from trainer.errors import TrainerError, rejected

Indices = npt.NDArray[np.int64]

DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}
"""Of weights and images by precision; bf16 is autocast over float32."""

DIGITS_CLASSES = 10
DIGITS_LEVELS = 16
DIGITS_MEAN, DIGITS_STD = 0.3053, 0.3760  # of all 1,797 images, after division by 16


@dataclass(frozen=True, kw_only=True)
class Images:
    """N images in a set, on the device. Shapes: pixels (N, channels, side, side), labels (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(indices).to(self.labels.device, non_blocking=True)
        return self.pixels[index], self.labels[index]


@dataclass(frozen=True, kw_only=True)
class VisionData:
    train: Images
    validation: Images
    num_classes: int

    @property
    def channels(self) -> int:
        return self.train.pixels.shape[1]

    @property
    def side(self) -> int:
        return self.train.pixels.shape[-1]


def load(spec: TrainingSpec, device: torch.device) -> VisionData:
    """Raises TrainerError: `data_unreadable`, or `spec_rejected_by_trainer` where the split cannot be made."""
    pixels, labels = _digits()
    train, validation = split(labels, spec.data)
    scaled = torch.from_numpy((pixels / DIGITS_LEVELS - DIGITS_MEAN) / DIGITS_STD).unsqueeze(1)
    side = spec.model.image_size or scaled.shape[-1]
    if side != scaled.shape[-1]:
        scaled = interpolate(scaled, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    scaled = scaled.to(DTYPES[spec.precision])

    def subset(chosen: Indices) -> Images:
        return Images(pixels=scaled[chosen].to(device), labels=torch.from_numpy(labels[chosen]).to(device))

    return VisionData(train=subset(train), validation=subset(validation), num_classes=DIGITS_CLASSES)


def split(labels: Indices, data: DigitsData) -> tuple[Indices, Indices]:
    """Training and validation indices, ascending: stratified by class, a function of (labels, `data`) alone."""
    shuffled = randomness.generator("split", data.split_seed).permutation(len(labels))
    by_class = [shuffled[labels[shuffled] == label] for label in np.unique(labels)]
    held_out = _shares([len(members) for members in by_class], data.validation_fraction)
    validation = np.concatenate([members[:n] for members, n in zip(by_class, held_out, strict=True)])
    left = [members[n:] for members, n in zip(by_class, held_out, strict=True)]
    # One of each class, then a second one of each, ...: any prefix is balanced as long as no class runs out.
    turns = np.concatenate([np.arange(len(members)) for members in left])
    train = np.concatenate(left)[np.argsort(turns, kind="stable")]
    if data.train_size is not None and data.train_size > len(train):
        raise rejected(
            f"data.train_size is {data.train_size}: must be <= {len(train)}, which `data.validation_fraction` "
            f"{data.validation_fraction} leaves of {len(labels)} images. Lower one of the two."
        )
    train = train[: data.train_size]
    if not len(train) or not len(validation):
        side = "validation" if len(train) else "training"
        raise rejected(
            f"data.validation_fraction is {data.validation_fraction}: it leaves no {side} image of {len(labels)}. "
            "Take a value further from 0 and 1."
        )
    return np.sort(train), np.sort(validation)


class EndlessOrder:
    """The endless stream of training indices: per-epoch permutations of `num_images`, one after the other."""

    def __init__(self, num_images: int, seed: int) -> None:
        self.num_images = num_images
        self._seed = seed
        self._last: tuple[int, Indices] | None = None

    def between(self, start: int, stop: int) -> Indices:
        """The indices at positions [start, stop), which may span any number of epochs."""
        n = self.num_images
        epochs = range(start // n, -(-stop // n))
        return np.concatenate([self._permutation(e)[max(0, start - e * n) : stop - e * n] for e in epochs])

    def _permutation(self, epoch: int) -> Indices:
        if self._last is None or self._last[0] != epoch:  # consecutive batches ask for the same one
            self._last = epoch, randomness.generator("order", self._seed, epoch).permutation(self.num_images)
        return self._last[1]


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How a global batch is cut: rank after rank, and within a rank micro-batch after micro-batch."""

    global_batch_size: int
    num_ranks: int
    pass_size: int
    """Images in one forward-backward pass of one worker."""

    @property
    def num_micro_batches(self) -> int:
        """Passes of one worker that make one gradient evaluation."""
        return self.global_batch_size // (self.num_ranks * self.pass_size)

    def positions(self, step: int, rank: int, micro_batch: int) -> tuple[int, int]:
        """[start, stop) in the endless order."""
        start = step * self.global_batch_size + (rank * self.num_micro_batches + micro_batch) * self.pass_size
        return start, start + self.pass_size


def plan_batches(spec: TrainingSpec, num_ranks: int) -> BatchPlan:
    """For any number of ranks the spec's batch divides by: fewer than it asks for accumulate more micro-batches."""
    if spec.global_batch_size % (num_ranks * spec.pass_size):
        raise rejected(
            f"global_batch_size is {spec.global_batch_size}: must divide by {num_ranks} processes times "
            f"{spec.pass_size} images a pass. Change the number of processes or `micro_batch_size`."
        )
    return BatchPlan(global_batch_size=spec.global_batch_size, num_ranks=num_ranks, pass_size=spec.pass_size)


def _shares(counts: Sequence[int], fraction: float) -> list[int]:
    """Whole numbers close to fraction * count, which sum to round(fraction * sum): largest remainders first."""
    exact = [fraction * count for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: round(sum(exact)) - sum(shares)]:
        shares[i] += 1
    return shares


def _digits() -> tuple[npt.NDArray[np.float64], Indices]:
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
