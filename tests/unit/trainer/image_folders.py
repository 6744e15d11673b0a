"""Image folders for tests, drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw(seed: int, side: int | tuple[int, int] = 8, base: int = 0) -> Image.Image:
    width, height = (side, side) if isinstance(side, int) else side
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return Image.fromarray(np.clip(noise + base, 0, 255).astype(np.uint8))


def make_folder(
    folder: Path, classes: int = 3, per_class: int = 4, *, side: int | tuple[int, int] = 8, extension: str = "png",
    seed: int = 0,
) -> Path:  # fmt: skip
    """Class folders c000, c001, ... of images 000, 001, ...; a class is a shade, so that it can be learned."""
    for label in range(classes):
        (folder / f"c{label:03d}").mkdir(parents=True)
        for number in range(per_class):
            image = draw(seed + label * per_class + number, side, base=label * 190 // max(1, classes - 1))
            image.save(folder / f"c{label:03d}" / f"{number:03d}.{extension}")
    return folder


def truncate(image: Path) -> Path:
    content = image.read_bytes()
    image.write_bytes(content[: len(content) * 2 // 3])
    return image
