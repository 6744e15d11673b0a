"""What every request is known by: an id for logs and errors, and its part in the counts of `/metrics`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from time import perf_counter

import structlog
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.telemetry import traces
from api.telemetry.families import HTTP_IN_PROGRESS, HTTP_SECONDS

HEADER = "X-Request-ID"
GIVEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""What is taken from a caller; anything else, which might forge lines of the log, is replaced."""
NAMED = re.compile(r"/api/v1/(?P<kind>runs|attempts)/(?P<id>[0-9a-f]{12,24})(?:/|$)")
UNMATCHED = "unmatched"
"""Instead of a template: what no route of the API answers, the dashboard's files among it."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Requests:
    """ASGI middleware, the outermost of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._templates: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if GIVEN_ID.fullmatch(given) else secrets.token_hex(8)
        _bind(request_id, scope["path"])
        self._templates = self._templates or _templates(scope["app"])
        counted = _Counted(scope, self._templates)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
                counted.answered(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            counted.answered(500)  # An error that is answered further out, or nobody was there any more.


def _bind(request_id: str, path: str) -> None:
    """For this request's task and whatever thread works for it. A task that follows another may inherit its ids."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    traces.describe("url.query", "")  # Whatever somebody put there stays out of the trace.
    if found := NAMED.match(path):
        name = "run" if found["kind"] == "runs" else "attempt_id"
        structlog.contextvars.bind_contextvars(**{name: found["id"]})


class _Counted:
    """One request until its answer begins: a stream goes on for minutes, and that is no latency."""

    def __init__(self, scope: Scope, templates: Mapping[int, str]) -> None:
        self._scope, self._templates = scope, templates
        self._began_at: float | None = perf_counter()
        HTTP_IN_PROGRESS.inc()

    def answered(self, status: int) -> None:
        """The first call counts."""
        if self._began_at is None:
            return
        seconds, self._began_at = perf_counter() - self._began_at, None
        HTTP_IN_PROGRESS.dec()
        method = self._scope["method"] if self._scope["method"] in METHODS else "other"
        # Never the path itself: a label with an id in it would grow for ever.
        template = self._templates.get(id(self._scope.get("route")), UNMATCHED)
        HTTP_SECONDS.labels(method, template, str(status)).observe(seconds)


def _templates(app: FastAPI) -> dict[int, str]:
    """The whole template of each route, "/api/v1/runs/{run_id}": a route knows its own part, without its router's."""
    return {id(found.original_route): found.path for found in iter_route_contexts(app.routes) if found.path}
