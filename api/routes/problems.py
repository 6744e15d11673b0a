"""Every error leaves as application/problem+json (RFC 9457), and none with a traceback."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from api.errors import BasinError, Invalid, Unavailable
from api.runs.schemas import Problem
from api.telemetry.logs import request_id
from trainer.contract.problems import SpecProblem, problems_in

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request has mistakes; `errors` names each field."},
    "default": {"model": Problem, "description": "Any other error."},
}
"""`responses` of every route."""


def install(app: FastAPI) -> None:
    app.add_exception_handler(BasinError, _basin_error)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(DataError, _unstorable)
    for away in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(Exception, _unexpected)


def problem(error: BasinError) -> JSONResponse:
    return _response(
        error.http_status, error.slug, error.title, error.detail, error.problems, headers=error.headers, **error.extra
    )


def _basin_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BasinError)
    return problem(error)


def _bad_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(Invalid.because(request_problems(error.errors())))


def request_problems(errors: Any) -> list[SpecProblem]:
    """FastAPI's errors as a person reads them: the body's fields by their path, others behind where they stand."""
    by_root: dict[str, list[dict[str, Any]]] = {}
    for item in errors:
        if item["type"] == "json_invalid":
            item = {**item, "type": "value_error", "msg": f"must be JSON: {item['ctx']['error']}", "input": ""}
            root, rest = "body", list[Any]()
        else:
            root, rest = _named_place(item)
        by_root.setdefault(root, []).append({**item, "loc": tuple(rest)})
    return [found for root, items in by_root.items() for found in problems_in(items, root)]


def _named_place(item: dict[str, Any]) -> tuple[str, list[Any]]:
    place, *rest = item["loc"]
    if place == "body":
        in_spec = rest[:1] == ["spec"] and (len(rest) > 1 or item["type"] != "missing")
        return ("spec", rest[1:]) if in_spec else ("" if rest else "body", rest)
    if place == "header":
        return "", [str(part).title() for part in rest]
    return place, rest


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status == HTTPStatus.NOT_FOUND and detail == status.phrase:
        detail = f"there is nothing at {request.url.path[:200]}"
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = headers.setdefault("Allow", "GET, HEAD")  # The dashboard's files leave it out.
        detail = f"{request.method} is not possible here: use {allowed}"
    slug = status.phrase.lower().replace(" ", "-")
    return _response(status, slug, status.phrase, detail, [], headers=headers)


def _unstorable(_: Request, error: Exception) -> JSONResponse:
    log.info("value_refused_by_database", error=str(getattr(error, "orig", error)).splitlines()[0])
    return problem(Invalid("the request holds a value that the database cannot store: mend or remove it"))


def _database_away(_: Request, error: Exception) -> JSONResponse:
    log.warning("database_away", error=str(getattr(error, "orig", error)).strip().splitlines()[:1])
    return problem(Unavailable("the database does not answer right now: try again in a moment"))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """The server logs the traceback; the person gets a number to quote."""
    incident = secrets.token_hex(4)
    log.error("unexpected_error", incident=incident, path=request.url.path, error=repr(error))
    detail = f"something broke inside Basin: look for incident {incident} in the API's log, and report it"
    # This answer is made outside of the middleware that gives every other one its id.
    headers = {"X-Request-ID": asked} if (asked := request_id()) is not None else None
    return _response(500, "internal", "Internal error", detail, [], headers=headers, incident=incident)


def _response(
    status: int,
    slug: str,
    title: str,
    detail: str,
    problems: list[SpecProblem],
    *,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    content = {
        "type": slug,
        "title": title,
        "status": int(status),
        "detail": detail,
        "errors": [each.model_dump() for each in problems],
        **extra,
    }
    if (asked := request_id()) is not None:
        content["request_id"] = asked
    return JSONResponse(content, status_code=int(status), media_type=MEDIA_TYPE, headers=headers)
