"""timm's transforms of an image, for training and for evaluation; both end in uint8, normalised only on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import posterize
from timm.data.constants import DEFAULT_CROP_PCT
from timm.data.random_erasing import RandomErasing
from timm.models import get_pretrained_cfg
from torch import Tensor
from torchvision.transforms import Compose, InterpolationMode, Resize  # type: ignore[import-untyped]

from trainer.contract.data import PreparedImages
from trainer.contract.spec import Model, TrainingSpec
from trainer.datasets.image_set import DTYPES, Batch

USUAL_SIDE = 224
WHOLE_IMAGE = (1.0, 1.0)

Transform = Callable[[Image.Image], Tensor]
"""Gives uint8 of shape (3, side, side)."""


@dataclass(frozen=True, kw_only=True)
class Transforms:
    side: int
    augmenting: Transform
    """Draws from Python's, NumPy's and torch's global streams, and from nothing else."""
    plain: Transform


def side_of(model: Model) -> int:
    """The input's side in pixels: the spec's, or what timm's configuration of the model names."""
    if model.image_size is not None:
        return model.image_size
    config = get_pretrained_cfg(model.name)
    return int(config.input_size[-1]) if config is not None else USUAL_SIDE


def build(model: Model, data: PreparedImages) -> Transforms:
    """Resizing and the evaluation's crop as timm configures the model.

    With `crop_scale` [1, 1] training sees whole images, squeezed into the square, and so does evaluation.
    """
    side, config = side_of(model), get_pretrained_cfg(model.name)
    augmentation = data.augmentation
    interpolation = config.interpolation if config is not None else "bilinear"
    whole = augmentation.crop_scale == WHOLE_IMAGE
    first, second, last = create_transform(
        (3, side, side), is_training=True, separate=True, use_prefetcher=True, interpolation=interpolation,
        scale=augmentation.crop_scale, hflip=augmentation.horizontal_flip,
        color_jitter=augmentation.color_jitter or None, auto_augment=augmentation.auto_augment, mean=data.mean,
    )  # fmt: skip
    steps = [*first.transforms, *second.transforms, *last.transforms]
    if whole:  # timm's crop keeps an aspect ratio between 3/4 and 4/3 and so would cut longer images
        steps[0] = Resize((side, side), interpolation=InterpolationMode(interpolation))
    for step in steps:
        _let_posterize_keep_nothing(step)
    if augmentation.random_erasing:
        steps.append(_Erase(augmentation.random_erasing, data.mean))
    plain = create_transform((3, side, side), use_prefetcher=True, **evaluation_crop(model, data))
    return Transforms(side=side, augmenting=Compose(steps), plain=plain)


def evaluation_crop(model: Model, data: PreparedImages) -> dict[str, Any]:
    """timm's `interpolation`, `crop_pct` and `crop_mode` for images without augmentation."""
    config = get_pretrained_cfg(model.name)
    whole = data.augmentation.crop_scale == WHOLE_IMAGE
    share = config.crop_pct if config is not None else DEFAULT_CROP_PCT
    return {
        "interpolation": config.interpolation if config is not None else "bilinear",
        "crop_pct": 1.0 if whole else share,
        "crop_mode": "squash" if whole else "center",
    }


def _let_posterize_keep_nothing(step: Transform) -> None:
    """timm's RandAugment asks at full strength for 0 bits of a colour, which is black, and which Pillow 13 refuses."""
    for operation in getattr(step, "ops", ()):
        if getattr(operation, "aug_fn", None) is posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits_to_keep: int, **options: Any) -> Image.Image:
    if bits_to_keep < 1:
        return Image.new(image.mode, image.size)
    result: Image.Image = posterize(image, bits_to_keep, **options)
    return result


class _Erase:
    """timm's random erasing, which it leaves to its own loader: a rectangle becomes what normalisation makes zero.

    Of uint8 pixels, so to the nearest of 256 levels. timm erases by writing zeros; so the mean is taken out meanwhile.
    """

    def __init__(self, probability: float, mean: tuple[float, float, float]) -> None:
        self._erase = RandomErasing(probability, mode="const", device="cpu")
        self._fill = torch.tensor([round(255 * value) for value in mean], dtype=torch.int16).view(3, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        erased: Tensor = self._erase(pixels.to(torch.int16) - self._fill)
        return (erased + self._fill).to(torch.uint8)


class Normalise:
    """uint8 (N, 3, side, side), anywhere, to (x / 255 - mean) / std on the device in the run's precision."""

    def __init__(self, spec: TrainingSpec, data: PreparedImages, device: torch.device) -> None:
        self._device, self._dtype = device, DTYPES[spec.precision]
        mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) * 255 for values in (data.mean, data.std))
        self._mean, self._std = mean.to(device, self._dtype), std.to(device, self._dtype)

    def __call__(self, pixels: Tensor, labels: Tensor) -> Batch:
        on_device = pixels.to(self._device, non_blocking=True).to(self._dtype)
        return on_device.sub_(self._mean).div_(self._std), labels.to(self._device, non_blocking=True)
