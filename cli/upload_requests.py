"""The Python client's part for uploading data sets: `client.uploads.begin("pets")`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from cli.answers import read
from cli.views import View


class UploadView(View):
    name: str
    folder: str
    resumes: bool = False


class HaveView(View):
    bytes: dict[str, int]


class UploadedView(View):
    """A data set that is whole; its path as the API's machine has it."""

    name: str
    path: str
    files: int
    bytes: int


class Uploads:
    """Requests; `ask` is the client's."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def begin(self, name: str) -> UploadView:
        """Begins, or resumes one's own. Raises Failure where a data set of this name is there."""
        return read(UploadView, self._ask("PUT", _path(name)))

    def have(self, name: str, paths: Sequence[str]) -> dict[str, int]:
        """How many bytes of each are there; at most 2,000 paths."""
        return read(HaveView, self._ask("POST", f"{_path(name)}/have", json={"paths": list(paths)})).bytes

    def send(self, name: str, pieces: Sequence[dict[str, Any]], content: bytes) -> None:
        """`pieces` as the API's Piece, in the order of their bytes in `content`; 8 MiB of these at most."""
        body = json.dumps(list(pieces)).encode() + b"\n" + content
        self._ask("POST", f"{_path(name)}/parts", content=body, headers={"Content-Type": "application/octet-stream"})

    def finish(self, name: str, *, files: int, size: int) -> UploadedView:
        """Raises Failure while something is missing."""
        return read(UploadedView, self._ask("POST", f"{_path(name)}/finish", json={"files": files, "bytes": size}))

    def abandon(self, name: str) -> None:
        self._ask("DELETE", _path(name))


def _path(name: str) -> str:
    return f"/data/uploads/{quote(name, safe='')}"
