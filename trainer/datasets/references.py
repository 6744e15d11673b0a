"""Where one image is: small enough to send to a reading process, which makes the image of it. Loads no torch."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.datasets.decoding import decode


class Reference(Protocol):
    def image(self) -> Image.Image:
        """In RGB. Raises Undecodable."""


class ImageFile(NamedTuple):
    path: str

    def image(self) -> Image.Image:
        return decode(self.path)


class Pixels(NamedTuple):
    """An image of a set that is in memory anyway: its pixels cost the way to the process less than a file would."""

    values: npt.NDArray[np.uint8]
    """(height, width) or (height, width, 3)."""

    def image(self) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(self.values)).convert("RGB")
