"""The Python client's part for uploading data sets: `client.uploads.begin("pets")`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import Field

from cli.answers import read
from cli.views import View


class UploadView(View):
    name: str
    folder: str
    resumes: bool = False


class HaveView(View):
    bytes: dict[str, int]
    sha256: dict[str, str] = Field(default_factory=dict)


class SentView(View):
    paths: list[str]
    more: bool


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

    def have(self, name: str, paths: Sequence[str], *, sha256: bool = False) -> HaveView:
        """How many bytes of each are there; at most 2,000 paths. With `sha256` also of some files that are whole, at
        least of one; where it tells of none, none of them is whole."""
        body = {"paths": list(paths), "sha256": sha256}
        return read(HaveView, self._ask("POST", f"{_path(name)}/have", json=body))

    def sent(self, name: str) -> Iterator[str]:
        """Every file that is there, whole or not."""
        asked: dict[str, str] = {}
        while True:
            page = read(SentView, self._ask("GET", f"{_path(name)}/files", params=asked))
            yield from page.paths
            if not page.more:
                return
            asked = {"after": page.paths[-1]}

    def send(self, name: str, pieces: Sequence[dict[str, Any]], content: bytes) -> None:
        """`pieces` as the API's Piece, in the order of their bytes in `content`; 8 MiB of these at most."""
        body = json.dumps(list(pieces)).encode() + b"\n" + content
        self._ask("POST", f"{_path(name)}/parts", content=body, headers={"Content-Type": "application/octet-stream"})

    def finish(self, name: str, *, files: int, size: int) -> UploadedView:
        """Raises Failure while something is missing or too much."""
        return read(UploadedView, self._ask("POST", f"{_path(name)}/finish", json={"files": files, "bytes": size}))

    def abandon(self, name: str) -> None:
        """Removes what was sent; for admins also somebody else's."""
        self._ask("DELETE", _path(name))


def _path(name: str) -> str:
    return f"/data/uploads/{quote(name, safe='')}"
