"""How an image becomes a model's input, and an answer a class: what weights need, beside their spec, to be of use.

It stands in every checkpoint, so that whoever has one needs no data set to export it or to predict with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from trainer.contract.data import DigitsData
from trainer.contract.spec import TrainingSpec
from trainer.datasets import digits, transforms
from trainer.datasets.image_set import VisionData

WHOLE_AND_SMOOTH: dict[str, Any] = {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash"}
"""What the digits' own resizing amounts to."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Sizes in pixels; mean and std of colours from 0 to 1, one a channel."""

    num_classes: int
    channels: int
    side: int
    mean: list[float]
    std: list[float]
    interpolation: str
    """Of the evaluation's resizing, as timm names it."""
    crop_pct: float
    """Share of the resized image's side that the evaluation's crop keeps, 0 to 1."""
    crop_mode: str
    """timm's: "center", or "squash" for whole images."""
    class_names: list[str] = field(default_factory=list)
    """By label; empty where the data names none."""
    train_images: int | None = None
    """How many there were; None: not known."""
    validation_images: int | None = None

    @classmethod
    def of(cls, spec: TrainingSpec, images: VisionData) -> Preparation:
        if isinstance(spec.data, DigitsData):
            mean, std, crop = [digits.MEAN], [digits.STD], WHOLE_AND_SMOOTH
        else:
            mean, std = list(spec.data.mean), list(spec.data.std)
            crop = transforms.evaluation_crop(spec.model, spec.data)
        return cls(
            num_classes=images.num_classes, channels=images.channels, side=images.side, mean=mean, std=std,
            **crop, class_names=list(images.class_names),
            train_images=len(images.train), validation_images=len(images.validation),
        )  # fmt: skip

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Preparation:
        """From what `as_document` gave, here or in another version: fields not known here are passed over.

        Raises TypeError where one is missing.
        """
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def as_document(self) -> dict[str, Any]:
        return asdict(self)
