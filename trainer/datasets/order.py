"""Which images belong to which set, step, rank and micro-batch.

The order of training is one endless stream: the permutation of epoch 0, then that of epoch 1, and so on, each a
function of (seed, epoch). The global batch of step t is positions [t*B, (t+1)*B) of it. So batches cross the ends of
epochs, may be larger than the data set, and no image is dropped or seen more often than its neighbours; and any rank
finds any batch without having read the ones before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer import randomness
from trainer.contract.spec import TrainingSpec
from trainer.errors import rejected

Indices = npt.NDArray[np.int64]


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


def split(
    labels: Indices, *, validation_fraction: float, split_seed: int, train_size: int | None = None,
    keep_one: bool = False,
) -> tuple[Indices, Indices]:  # fmt: skip
    """Training and validation indices, ascending: stratified by class, a function of the arguments alone.

    With `keep_one` no class gives its last image away. Raises TrainerError(spec_rejected_by_trainer) where a part
    would be empty or smaller than asked for.
    """
    shuffled = randomness.generator("split", split_seed).permutation(len(labels))
    counts = np.unique(labels, return_counts=True)[1]
    by_class = np.split(shuffled[np.argsort(labels[shuffled], kind="stable")], np.cumsum(counts)[:-1])
    held_out = _shares([len(members) for members in by_class], validation_fraction)
    if keep_one:
        held_out = [min(n, len(members) - 1) for n, members in zip(held_out, by_class, strict=True)]
    validation = np.concatenate([members[:n] for members, n in zip(by_class, held_out, strict=True)])
    left = [members[n:] for members, n in zip(by_class, held_out, strict=True)]
    # One of each class, then a second one of each, ...: any prefix is balanced as long as no class runs out.
    turns = np.concatenate([np.arange(len(members)) for members in left])
    train = np.concatenate(left)[np.argsort(turns, kind="stable")]
    if train_size is not None and train_size > len(train):
        raise rejected(
            f"data.train_size is {train_size}: must be <= {len(train)}, which `data.validation_fraction` "
            f"{validation_fraction} leaves of {len(labels)} images. Lower one of the two."
        )
    train = train[:train_size]
    if not len(train) or not len(validation):
        side = "validation" if len(train) else "training"
        raise rejected(
            f"data.validation_fraction is {validation_fraction}: it leaves no {side} image of {len(labels)}. "
            "Take a value further from 0 and 1."
        )
    return np.sort(train), np.sort(validation)


def _shares(counts: Sequence[int], fraction: float) -> list[int]:
    """Whole numbers close to fraction * count, which sum to round(fraction * sum): largest remainders first."""
    exact = [fraction * count for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: round(sum(exact)) - sum(shares)]:
        shares[i] += 1
    return shares
