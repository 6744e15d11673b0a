"""One image file, decoded with Pillow. Loads no torch."""

from __future__ import annotations

import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
UNBOUNDED = ("I", "F")
"""Modes whose values have no known range."""


class Undecodable(Exception):
    """`str()` continues a sentence that begins with the file's name."""


def decode(source: str | BinaryIO) -> Image.Image:
    """The whole image in RGB; of several frames the first. Transparency is dropped, an orientation in EXIF ignored, as
    timm does. 16 bits a pixel are scaled to 8. Raises Undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; and the large, of which Pillow refuses the too large
            with Image.open(source) as image:
                return _rgb(image)
    except (Undecodable, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise Undecodable(_why(error)) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BITS:
        levels = np.asarray(image).astype(np.uint16)
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in UNBOUNDED:
        raise Undecodable(f"has pixels of kind {image.mode}, whose range is not known: save it with 8 bits a channel")
    return image.convert("RGB")


def _why(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"is larger than {limit} pixels, as a file made to fill the memory would be: make it smaller"
    if isinstance(error, UnidentifiedImageError):
        return "is no image that Pillow knows"
    if isinstance(error, FileNotFoundError):
        return "is gone"
    if isinstance(error, PermissionError | IsADirectoryError):
        return f"cannot be opened ({error.strerror})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"is damaged ({str(error).strip().rstrip('.') or type(error).__name__})"
