"""The Python client of Basin's API: a thin layer over httpx, typed by the contract.

    with Client("http://127.0.0.1:8000", token) as client:
        run = client.submit(spec, name="looksam on digits")
        for change in client.follow([run.id]): ...

Every error is a Failure with a sentence and an exit code.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cli.failure import ExitCode, Failure
from trainer.contract.ends import EndReason
from trainer.contract.problems import SpecProblem
from trainer.contract.spec import TrainingSpec

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
STREAM_READ_SECONDS = 45.0
"""The stream sends a sign of life every 15 s."""
SUBMIT_ATTEMPTS = 3
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class LatestValue(BaseModel):
    """The newest value of a metric and the best so far."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    step: int
    value: float | None = None
    best: float | None = None


class RunView(BaseModel):
    """A run as the API answers it; fields that this version of the client does not know are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    name: str
    status: str
    reason: EndReason | None = None
    sentence: str | None = None
    detail: str | None = None
    position: int | None = None
    wait_reason: str | None = None
    silent: bool = False
    model: str = ""
    method: str = ""
    user: str = ""
    workers: int = 1
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    attempt: int | None = None
    latest: dict[str, LatestValue] = {}
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    def value(self, metric: str) -> float | None:
        latest = self.latest.get(metric)
        return latest.value if latest else None


class RunPage(BaseModel):
    items: list[RunView]
    next_cursor: str | None = None


class Change(BaseModel):
    """One event of the live stream: `run` carries a RunView, `metrics` the numbers of a step."""

    kind: str
    data: dict[str, Any]


class Client:
    """A connection to one API; a context manager."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure(f"the API's address {url!r} must look like http://127.0.0.1:8000", ExitCode.refused)
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}", "User-Agent": "basin-cli"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            # A proxy in the environment is not for this machine.
            trust_env=parts.hostname not in ("127.0.0.1", "localhost", "::1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self,
        spec: TrainingSpec | Mapping[str, Any],
        *,
        name: str | None = None,
        project: str | None = None,
        idempotency_key: str | None = None,
    ) -> RunView:
        """Queues a run. A lost answer is asked for again; the key makes that safe."""
        document = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, TrainingSpec) else dict(spec)
        body: dict[str, Any] = {"spec": document}
        body |= {key: value for key, value in (("name", name), ("project", project)) if value is not None}
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        for attempts_left in reversed(range(SUBMIT_ATTEMPTS)):
            try:
                return _run(self._ask("POST", "/runs", json=body, headers=headers))
            except Unreachable:
                if not attempts_left:
                    raise
        raise AssertionError("unreachable: the loop returns or raises")

    def run(self, run_id: str) -> RunView:
        return _run(self._ask("GET", f"/runs/{quote(run_id, safe='')}"))

    def runs(self, *, statuses: Sequence[str] = (), limit: int = 20, cursor: str | None = None) -> RunPage:
        """Newest first; `limit` is 1 to 200."""
        query: dict[str, Any] = {"limit": limit, "status": list(statuses)}
        if cursor:
            query["cursor"] = cursor
        return RunPage.model_validate(self._ask("GET", "/runs", params=query))

    def cancel(self, run_id: str) -> RunView:
        return _run(self._ask("POST", f"/runs/{quote(run_id, safe='')}/cancel"))

    def metrics(self, run_id: str, names: Sequence[str], *, max_points: int = 1000) -> dict[str, Any]:
        """Columns as the API answers them: series with steps and values."""
        query: dict[str, Any] = {"names": ",".join(names), "max_points": max_points}
        answer: dict[str, Any] = self._ask("GET", f"/runs/{quote(run_id, safe='')}/metrics", params=query)
        return answer

    def me(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask("GET", "/me")
        return answer

    def follow(self, run_ids: Iterable[str]) -> Iterator[Change]:
        """Live changes of these runs, until the stream ends (ten minutes) or breaks; then fetch and follow again."""
        topics = ",".join(f"run:{run_id}" for run_id in run_ids)
        timeout = httpx.Timeout(STREAM_READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            with self._http.stream("GET", "/stream", params={"topics": topics}, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                yield from server_sent_events(answer.iter_lines())
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from None

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unreachable(self.url, error) from None
        if answer.is_error:
            raise refusal(answer)
        try:
            return answer.json()
        except ValueError:
            raise Failure(
                f"{self.url} answered {method} {path} with something that is not JSON: is it Basin's API?",
                ExitCode.unreachable,
            ) from None


class Unreachable(Failure):
    """No answer from the API."""

    def __init__(self, url: str, error: httpx.HTTPError) -> None:
        super().__init__(
            f"the API at {url} does not answer ({type(error).__name__}): start the stack with `basin up`, "
            "or set BASIN_API_URL",
            ExitCode.unreachable,
        )


def _run(document: Any) -> RunView:
    try:
        return RunView.model_validate(document)
    except ValidationError:
        raise Failure("the API's answer is not a run: are API and client of one version?") from None


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
