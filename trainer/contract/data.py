"""The spec's `data` section: which images, how they are split, how they are changed before the model sees them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from trainer.contract.spec_part import SpecPart


class DigitsData(SpecPart):
    """scikit-learn's digits: 1,797 grey images of 8 x 8 in 10 classes, shipped with the library."""

    source: Literal["digits"] = "digits"
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images held out for validation, split by class with `split_seed`. Between 0 and 1, both excluded."""
    train_size: int | None = Field(default=None, ge=10, le=1797)
    """Use only this many training images (balanced by class). Off (null): all that the split leaves."""
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the split, apart from `seed`, so that runs with other seeds see the same split."""


DataPath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]


class Augmentation(SpecPart):
    """timm's transforms of training images; every draw is a function of the seed, the epoch and the image."""

    crop_scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.08, 1.0)
    """Share of the image's area that the random crop keeps, lowest and highest. [1, 1] is off: the whole image."""
    horizontal_flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of mirroring left and right. 0 is off."""
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    """Strength of random brightness, contrast and saturation. 0 is off."""

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Augmentation:
        lowest, highest = self.crop_scale
        if lowest > highest:
            raise ValueError(
                f"`crop_scale` {lowest},{highest} must not fall from the first to the second: swap the two"
            )
        return self


class ImageFolderData(SpecPart):
    """A folder of images with one folder per class (torchvision's ImageFolder), under one of the data roots."""

    source: Literal["image_folder"]
    train: DataPath = Field(examples=["pets/train"])
    """Folder of training images: one folder per class. Absolute, or relative to a data root (BASIN_DATA_ROOTS)."""
    validation: DataPath | None = Field(default=None, examples=["pets/validation"])
    """Folder of validation images with the same classes. Off (null): a share of `train` is held out."""
    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of `train` held out, split by class with `split_seed`. Off (null): 0.1 without `validation`, else none."""
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the split, apart from `seed`, so that runs with other seeds see the same split."""
    augmentation: Augmentation = Augmentation()
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from the colours, which go from 0 to 1. Default: ImageNet's."""
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (
        0.229, 0.224, 0.225,
    )  # fmt: skip
    """Divides them then. Default: ImageNet's."""
    loader_workers: int = Field(default=2, ge=0, le=256)
    """Processes that read and decode images, beside each worker. 0: the worker does it itself."""

    @model_validator(mode="after")
    def _validation_is_said_once(self) -> ImageFolderData:
        if self.validation is not None and self.validation_fraction is not None:
            raise ValueError(
                f"`validation_fraction` {self.validation_fraction} must not stand beside `validation`: remove one"
            )
        return self

    @property
    def held_out(self) -> float | None:
        """Share of the training images that validation takes; None where it has a folder of its own."""
        return None if self.validation is not None else (self.validation_fraction or 0.1)


def _digits_unless_said(document: Any) -> Any:
    """A section without `source` means the digits, as it did when there was nothing else."""
    if isinstance(document, dict) and "source" not in document:
        return {"source": "digits", **document}
    return document


Data = Annotated[DigitsData | ImageFolderData, Field(discriminator="source"), BeforeValidator(_digits_unless_said)]
