"""Bounds request bodies before anything parses them; unpacks gzip for reports, bounding what comes out as well."""

from __future__ import annotations

import zlib

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
MAX_REPORTS_BYTES = 8 * 1024 * 1024
MAX_PART_BYTES = 9 * 1024 * 1024
"""Of an uploaded data set: 8 MiB, and the list of what is in it."""
GZIP = 16 + zlib.MAX_WBITS


class BodyLimits:
    """ASGI middleware. A body over the bound raises 413 in whoever reads it, so the app words the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reports = _takes_reports(scope["path"])
        most = MAX_REPORTS_BYTES if reports else MAX_PART_BYTES if _takes_parts(scope["path"]) else MAX_BODY_BYTES
        body = _BoundedBody(receive, most, Headers(scope=scope), reports)
        await self._app(scope, body.receive, send)


def _takes_reports(path: str) -> bool:
    return path.startswith("/api/v1/attempts/") and path.endswith("/reports")


def _takes_parts(path: str) -> bool:
    return path.startswith("/api/v1/data/uploads/") and path.endswith("/parts")


class _BoundedBody:
    def __init__(self, receive: Receive, most: int, headers: Headers, may_unpack: bool) -> None:
        self._receive = receive
        self._most = most
        self._announced = headers.get("content-length", "0")
        self._encoding = headers.get("content-encoding", "identity").lower()
        self._unpacker = zlib.decompressobj(GZIP) if may_unpack and self._encoding == "gzip" else None
        self._bytes = 0

    async def receive(self) -> Message:
        if self._announced.isdigit() and int(self._announced) > self._most:
            raise self._too_large()
        if self._encoding not in ("identity", "") and self._unpacker is None:
            raise HTTPException(415, f"Content-Encoding {self._encoding[:40]!r} is not taken here: send it plain")
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        part = message.get("body", b"")
        if self._unpacker is not None:
            part = self._unpack(part)
            message = {**message, "body": part}
        self._bytes += len(part)
        if self._bytes > self._most:
            raise self._too_large()
        return message

    def _unpack(self, part: bytes) -> bytes:
        assert self._unpacker is not None
        try:
            # One byte more than is left shows that the bound is passed, without unpacking a bomb.
            return self._unpacker.decompress(part, self._most - self._bytes + 1)
        except zlib.error as error:
            raise HTTPException(400, f"the body is not gzip as Content-Encoding says: {error}") from error

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is larger than {self._most // 1024} KiB: send less at once")
