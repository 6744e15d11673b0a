"""Mixup, cutmix and label smoothing: timm's, with draws that are keyed like all others (`trainer.randomness`)."""

from __future__ import annotations

from timm.data import Mixup
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainer import randomness
from trainer.contract.execution import Regularization


class TrainingLoss:
    """The loss of one micro-batch: mean cross-entropy with smoothed, perhaps mixed, targets."""

    def __init__(self, spec: Regularization, seed: int, num_classes: int) -> None:
        self._seed, self._smoothing = seed, spec.label_smoothing
        self._mixup = None
        if spec.mixes:
            self._mixup = Mixup(
                mixup_alpha=spec.mixup_alpha, cutmix_alpha=spec.cutmix_alpha, prob=spec.mix_probability,
                switch_prob=spec.cutmix_share, label_smoothing=spec.label_smoothing, num_classes=num_classes,
            )  # fmt: skip

    def mixed(self, pixels: Tensor, labels: Tensor, *where: int) -> tuple[Tensor, Tensor]:
        """What the model is shown and what it should answer: (B,) labels, or (B, classes) shares where mixed.

        `where` keys the draw: step, micro-batch, rank. Whoever asks again gets the same.
        """
        if self._mixup is None:
            return pixels, labels
        with randomness.numpy_seeded("mixing", self._seed, *where):
            images, targets = self._mixup(pixels.clone(), labels)
        return images, targets.to(pixels.dtype)

    def of(self, logits: Tensor, targets: Tensor) -> Tensor:
        """0-dim, in nats."""
        if targets.ndim == 2:
            return cross_entropy(logits, targets)
        return cross_entropy(logits, targets, label_smoothing=self._smoothing)

    @staticmethod
    def hits(logits: Tensor, targets: Tensor) -> Tensor:
        """How many answers are the target's largest share."""
        labels = targets.argmax(dim=1) if targets.ndim == 2 else targets
        return (logits.argmax(dim=1) == labels).sum()
