"""Where one image is: small enough to send to a reading process, which makes the image of it. Loads no torch."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.datasets.decoding import Undecodable, decode

if TYPE_CHECKING:
    import pyarrow

OPEN_TABLES = 64
"""Arrow files that a process keeps mapped into its address space."""


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


class FilePart(NamedTuple):
    """An encoded image inside a file: a member of a tar file."""

    path: str
    start: int
    num_bytes: int

    def image(self) -> Image.Image:
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                content = file.read(self.num_bytes)
        except OSError as error:
            raise Undecodable(f"cannot be read ({error.strerror})") from error
        return decode(BytesIO(content))


class ArrowRow(NamedTuple):
    """An encoded image in an Arrow file, in a column of bytes or of the hub's pair of `bytes` and `path`."""

    file: str
    column: str
    row: int

    def image(self) -> Image.Image:
        try:
            cell = _table(self.file).column(self.column)[self.row].as_py()
        except OSError as error:
            raise Undecodable(f"cannot be read ({error})") from error
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes):  # a path in the row is not followed: it could name any file of the machine
            raise Undecodable("holds no bytes of an image")
        return decode(BytesIO(content))


@lru_cache(OPEN_TABLES)
def _table(file: str) -> pyarrow.Table:
    """Mapped, not read. pyarrow's import costs a reading process 0.4 s, and only those pay that need it."""
    import pyarrow

    return pyarrow.ipc.open_stream(pyarrow.memory_map(file)).read_all()
