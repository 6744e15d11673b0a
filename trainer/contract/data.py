"""The spec's `data` section: which images, how they are split, how they are changed before the model sees them."""

from __future__ import annotations

import re
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

    @property
    def folders(self) -> list[tuple[str, str]]:
        """Fields that name folders, and what they name; they must lie under the data roots."""
        return []


DataPath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]


_TO_TEN, _SHARE, _SPREAD = "([0-9]|10)", r"(0?\.[0-9]{1,4}|1(\.0)?)", r"[0-9]{1,3}(\.[0-9]{1,4})?"
RandAugment = Annotated[
    str,
    StringConstraints(
        max_length=128, pattern=rf"^rand(-(m{_TO_TEN}|n[1-9]|p{_SHARE}|mstd{_SPREAD}|mmax{_TO_TEN}|inc[01]))*$"
    ),
]


class Augmentation(SpecPart):
    """timm's transforms of training images; every draw is a function of the seed, the epoch and the image."""

    crop_scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.08, 1.0)
    """Share of the image's area that the random crop keeps, lowest and highest. [1, 1] is off: the whole image."""
    horizontal_flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of mirroring left and right. 0 is off."""
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    """Strength of random brightness, contrast and saturation. 0 is off."""
    auto_augment: RandAugment | None = Field(default=None, examples=["rand-m9-n2-mstd0.5-inc1"])
    """RandAugment in timm's words: rand, then in any order -m magnitude (0 to 10), -n operations an image, -p their
    probability, -mstd spread and -mmax bound of the magnitude, -inc1 operations that grow with it. Off (null)."""
    random_erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability that a random rectangle is set to the colour `data.mean`. 0 is off."""

    @model_validator(mode="after")
    def _jitter_is_not_doubled(self) -> Augmentation:
        if self.auto_augment is not None and self.color_jitter:
            raise ValueError(
                f"`color_jitter` {self.color_jitter} must be 0 beside `auto_augment`, which changes colours itself: "
                "remove one"
            )
        return self

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Augmentation:
        lowest, highest = self.crop_scale
        if lowest > highest:
            raise ValueError(
                f"`crop_scale` {lowest},{highest} must not fall from the first to the second: swap the two"
            )
        return self


class PreparedImages(SpecPart):
    """What the sources of images to be decoded have in common. As first base it puts its fields behind the source's."""

    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the training images held out, split by class with `split_seed`. Off (null): 0.1 where the source gives
    no validation images of its own, else none."""
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
    def _validation_is_said_once(self) -> PreparedImages:
        if getattr(self, "validation", None) is not None and self.validation_fraction is not None:
            raise ValueError(
                f"`validation_fraction` {self.validation_fraction} must not stand beside `validation`: remove one"
            )
        return self

    @property
    def held_out(self) -> float | None:
        """Share of the training images that validation takes; None where it has images of its own."""
        return None if getattr(self, "validation", None) is not None else (self.validation_fraction or 0.1)

    @property
    def folders(self) -> list[tuple[str, str]]:
        """Fields that name folders, and what they name; they must lie under the data roots."""
        raise NotImplementedError


class _FolderNames(SpecPart):
    source: Literal["image_folder"]
    train: DataPath = Field(examples=["pets/train"])
    """Folder of training images: one folder per class. Absolute, or relative to a data root (BASIN_DATA_ROOTS)."""
    validation: DataPath | None = Field(default=None, examples=["pets/validation"])
    """Folder of validation images with the same classes. Off (null): a share of `train` is held out."""
    test: DataPath | None = Field(default=None, examples=["pets/test"])
    """Folder of test images with the same classes, measured once, after the last step. Off (null)."""


class ImageFolderData(PreparedImages, _FolderNames):
    """A folder of images with one folder per class (torchvision's ImageFolder), under one of the data roots."""

    @property
    def folders(self) -> list[tuple[str, str]]:
        named = [("train", self.train), ("validation", self.validation), ("test", self.test)]
        return [(field, path) for field, path in named if path is not None]


TorchvisionName = Literal[
    "cifar10", "cifar100", "country211", "dtd", "fashion_mnist", "fgvc_aircraft", "flowers102", "food101", "gtsrb",
    "kmnist", "mnist", "oxford_iiit_pet", "stl10", "svhn", "usps",
]  # fmt: skip
WITH_VALIDATION: frozenset[str] = frozenset({"country211", "dtd", "fgvc_aircraft", "flowers102"})
"""Those that torchvision gives a validation split of their own."""


class _TorchvisionNames(SpecPart):
    source: Literal["torchvision"]
    name: TorchvisionName = Field(examples=["cifar10"])
    """Which data set. Its training split trains; grey images become coloured ones of equal channels."""
    path: DataPath = Field(examples=["torchvision"])
    """Folder that torchvision calls `root`, e.g. the one in which `cifar-10-batches-py` lies. Absolute, or relative to
    a data root (BASIN_DATA_ROOTS)."""
    download: bool = False
    """Let the run fetch what is missing into `path`, from where torchvision has it. Off: no traffic, the run fails."""
    test: bool = False
    """Measure the data set's test split once, after the last step."""


class TorchvisionData(PreparedImages, _TorchvisionNames):
    """A data set of torchvision by its name, in torchvision's own layout under one of the data roots."""

    @property
    def folders(self) -> list[tuple[str, str]]:
        return [("path", self.path)]

    @property
    def held_out(self) -> float | None:
        """The set's own validation split is used where it has one, unless a share is asked for."""
        has_its_own = self.validation_fraction is None and self.name in WITH_VALIDATION
        return None if has_its_own else (self.validation_fraction or 0.1)


SplitName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,127}$")]
HubName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class _HuggingFaceNames(SpecPart):
    source: Literal["huggingface"]
    path: DataPath | None = Field(default=None, examples=["cifar10"])
    """Folder of Parquet files in the hub's layout: train.parquet, or train-00000-of-00002.parquet and so on, or
    train/*.parquet. Absolute, or relative to a data root (BASIN_DATA_ROOTS). Give this or `name`."""
    name: HubName | None = Field(default=None, examples=["uoft-cs/cifar10"])
    """Data set of the Hugging Face hub, owner/name. Its code, if it has any, is never run. Give this or `path`."""
    configuration: Annotated[str, StringConstraints(min_length=1, max_length=128)] | None = None
    """Which of the hub data set's configurations. Off (null): its default."""
    revision: Annotated[str, StringConstraints(pattern=r"^[\w./-]{1,128}$")] | None = None
    """Commit, tag or branch of the hub data set; only a commit is sure to stay the same. Off (null): the newest."""
    download: bool = False
    """Let the run fetch the hub data set. Off: no traffic, it must be in the node's Hugging Face cache already."""
    train: SplitName = "train"
    """Name of the split that trains."""
    validation: SplitName | None = Field(default=None, examples=["validation"])
    """Name of the validation split. Off (null): a share of `train` is held out."""
    test: SplitName | None = Field(default=None, examples=["test"])
    """Name of the test split, measured once, after the last step. Off (null)."""
    image_column: ColumnName = "image"
    """Column of encoded images: bytes, or the hub's pair of `bytes` and `path`."""
    label_column: ColumnName = "label"
    """Column of labels: whole numbers from 0, or class names."""


class HuggingFaceData(PreparedImages, _HuggingFaceNames):
    """Images in rows, read by Hugging Face's `datasets`: Parquet files under a data root, or a data set of the hub."""

    @model_validator(mode="after")
    def _is_named_once(self) -> HuggingFaceData:
        if (self.path is None) == (self.name is None):
            raise ValueError(f"`name` {self.name} must be given, or `path`, and not both: give one of the two")
        only_hub = {"configuration": self.configuration, "revision": self.revision, "download": self.download or None}
        for field, value in only_hub.items():
            if self.path is not None and value is not None:
                raise ValueError(f"`{field}` {value} must stand beside `name`, not `path`: remove it")
        return self

    @property
    def folders(self) -> list[tuple[str, str]]:
        return [("path", self.path)] if self.path is not None else []


class _Shards(SpecPart):
    source: Literal["webdataset"]
    train: DataPath = Field(examples=["pets/train-{000..003}.tar"])
    """Tar files of training images: a path with braces ({000..003}, {a,b}) or wildcards (*, ?, [0-9]). Absolute, or
    relative to a data root (BASIN_DATA_ROOTS)."""
    validation: DataPath | None = Field(default=None, examples=["pets/validation-{000..001}.tar"])
    """Tar files of validation images. Off (null): a share of `train` is held out."""
    test: DataPath | None = Field(default=None, examples=["pets/test-{000..001}.tar"])
    """Tar files of test images, measured once, after the last step. Off (null)."""
    label_key: Annotated[str, StringConstraints(pattern=r"^[\w-]{1,64}$")] = "label"
    """Field of a sample's .json that holds its label, where it has no .cls: a whole number from 0, or a class name."""


class WebDatasetData(PreparedImages, _Shards):
    """webdataset's tar files: each sample is an image (jpg, jpeg, png, webp) and a .cls or .json of the same name."""

    @property
    def folders(self) -> list[tuple[str, str]]:
        """The folders in front of the first brace or wildcard, and of the file's name."""
        named = [("train", self.train), ("validation", self.validation), ("test", self.test)]
        return [(field, _folder_of(pattern)) for field, pattern in named if pattern is not None]


def _folder_of(pattern: str) -> str:
    plain = re.split(r"[{*?\[]", pattern, maxsplit=1)[0]
    folder = plain.rpartition("/")[0]
    return folder or ("/" if plain.startswith("/") else ".")


def _digits_unless_said(document: Any) -> Any:
    """A section without `source` means the digits, as it did when there was nothing else."""
    if isinstance(document, dict) and "source" not in document:
        return {"source": "digits", **document}
    return document


Data = Annotated[
    DigitsData | ImageFolderData | TorchvisionData | HuggingFaceData | WebDatasetData,
    Field(discriminator="source"),
    BeforeValidator(_digits_unless_said),
]
