"""Answers of the API that are no plain documents: refusals as sentences, no answer at all, the live stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from cli.failure import ExitCode, Failure
from cli.views import Change
from trainer.contract.problems import SpecProblem

Answer = TypeVar("Answer", bound=BaseModel)


class Unreachable(Failure):
    """No answer from the API."""

    def __init__(self, url: str, error: httpx.HTTPError) -> None:
        super().__init__(
            f"the API at {url} does not answer ({type(error).__name__}): start the stack with `basin up`, "
            "or set BASIN_API_URL",
            ExitCode.unreachable,
        )


def refusal(answer: httpx.Response) -> Failure:
    """The problem document (RFC 9457) as a sentence per field."""
    try:
        problem = answer.json()
        fields = TypeAdapter(list[SpecProblem]).validate_python(problem.get("errors") or [])
        detail = str(problem.get("detail") or problem.get("title") or "")
    except (ValueError, AttributeError):
        fields, detail = [], answer.text[:200]
    sentence = "\n".join(field.sentence() for field in fields) or detail or answer.reason_phrase
    if answer.status_code in (401, 403):
        return Failure(f"{sentence} ({answer.status_code}); set BASIN_TOKEN or --token", ExitCode.unreachable)
    code = ExitCode.refused if answer.is_client_error else ExitCode.failed
    return Failure(sentence if fields or answer.is_client_error else f"the API failed: {sentence}", code)


def server_sent_events(lines: Iterable[str]) -> Iterator[Change]:
    """Events of a text/event-stream; comments, which are signs of life, are passed over."""
    kind, data = "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Change(kind=kind, data=json.loads("\n".join(data)))
            kind, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)


def read(view: type[Answer], document: Any) -> Answer:
    try:
        return view.model_validate(document)
    except ValidationError:
        raise Failure(
            f"the API's answer is not what this client expects ({view.__name__}): are API and client of one version?"
        ) from None
