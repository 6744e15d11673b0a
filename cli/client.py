"""The Python client of Basin's API: a thin layer over httpx, typed by the contract.

    with Client("http://127.0.0.1:8000", token) as client:
        run = client.submit(spec, name="looksam on digits", study="digits")
        for change in client.follow([run.id]): ...

Every error is a Failure with a sentence and an exit code.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from cli.answers import Unreachable, read, refusal, server_sent_events
from cli.failure import ExitCode, Failure
from cli.operations_requests import Operations
from cli.upload_requests import Uploads
from cli.views import (
    BulkCancel,
    BulkChange,
    Change,
    Checkpoints,
    DryRun,
    LogTail,
    RunPage,
    RunView,
    StudyPage,
    UserPage,
    UserView,
)
from cli.webhook_requests import Webhooks
from trainer.contract.spec import TrainingSpec

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
STREAM_READ_SECONDS = 45.0
"""The stream sends a sign of life every 15 s."""
SUBMIT_ATTEMPTS = 3
PAGE = 200
"""Runs in one answer, the API's limit."""
BULK = 1000
"""Runs in one bulk request, the API's limit."""


class Client:
    """A connection to one API; a context manager."""

    def __init__(self, url: str, token: str, *, read_seconds: float = READ_SECONDS) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure(f"the API's address {url!r} must look like http://127.0.0.1:8000", ExitCode.refused)
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}", "User-Agent": "basin-cli"},
            timeout=httpx.Timeout(read_seconds, connect=min(CONNECT_SECONDS, read_seconds)),
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
        self, spec: TrainingSpec | Mapping[str, Any], *, idempotency_key: str | None = None, **about: Any
    ) -> RunView:
        """Queues a run; `about` is the rest of the submission (see `submission`).

        A lost answer is asked for again; the key makes that safe.
        """
        body = submission(spec, **about)
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        for attempts_left in reversed(range(SUBMIT_ATTEMPTS)):
            try:
                return read(RunView, self._ask("POST", "/runs", json=body, headers=headers))
            except Unreachable:
                if not attempts_left:
                    raise
        raise AssertionError("unreachable: the loop returns or raises")

    def dry_run(self, spec: TrainingSpec | Mapping[str, Any], **about: Any) -> DryRun:
        """What `submit` would make of it; the API stores and sends nothing."""
        return read(DryRun, self._ask("POST", "/runs", json=submission(spec, **about), params={"dry_run": "true"}))

    def run(self, run_id: str) -> RunView:
        return read(RunView, self._ask("GET", path_of(run_id)))

    def runs(
        self,
        *,
        statuses: Sequence[str] = (),
        study: str | None = None,
        query: str | None = None,
        kept: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> RunPage:
        """Newest first; `limit` is 1 to 200, `query` a part of name or id, `kept` "archived" or "deleted"."""
        asked: dict[str, Any] = {"limit": limit, "status": list(statuses)} | ({kept: "true"} if kept else {})
        asked |= {key: value for key, value in (("study", study), ("q", query), ("cursor", cursor)) if value}
        return read(RunPage, self._ask("GET", "/runs", params=asked))

    def all_runs(
        self, *, statuses: Sequence[str] = (), study: str | None = None, kept: str | None = None
    ) -> Iterator[RunView]:
        """Every run that fits, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.runs(statuses=statuses, study=study, kept=kept, limit=PAGE, cursor=cursor)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def edit(self, run_id: str, changes: Mapping[str, Any]) -> RunView:
        """Changes `priority` (of a queued run), `name` or `study` (None clears it)."""
        return read(RunView, self._ask("PATCH", path_of(run_id), json=dict(changes)))

    def cancel(self, run_id: str, *, now: bool = False) -> RunView:
        """A second time, or with `now`, the trainer gets no time to save."""
        return read(RunView, self._ask("POST", f"{path_of(run_id)}/cancel", params={"now": "true"} if now else {}))

    def pause(self, run_id: str) -> RunView:
        return read(RunView, self._ask("POST", f"{path_of(run_id)}/pause"))

    def resume(self, run_id: str) -> RunView:
        return read(RunView, self._ask("POST", f"{path_of(run_id)}/resume"))

    def change_many(self, act: str, run_ids: Sequence[str]) -> BulkChange:
        """`act` is "pause", "resume", "archive", "unarchive", "delete" or "restore"; a refusal holds up no other."""
        done = BulkChange(changed=[], unchanged=[], refused=[])
        for start in range(0, len(run_ids), BULK):
            body = {"run_ids": list(run_ids[start : start + BULK])}
            part = read(BulkChange, self._ask("POST", f"/runs/{act}", json=body))
            done = BulkChange(
                changed=done.changed + part.changed,
                unchanged=done.unchanged + part.unchanged,
                refused=done.refused + part.refused,
            )
        return done

    def cancel_many(self, run_ids: Sequence[str], *, now: bool = False) -> BulkCancel:
        """Cancels each of them; one that is refused holds up no other."""
        done = BulkCancel(cancelled=[], already_over=[], refused=[])
        for start in range(0, len(run_ids), BULK):
            body = {"run_ids": list(run_ids[start : start + BULK]), "now": now}
            part = read(BulkCancel, self._ask("POST", "/runs/cancel", json=body))
            done = BulkCancel(
                cancelled=done.cancelled + part.cancelled,
                already_over=done.already_over + part.already_over,
                refused=done.refused + part.refused,
            )
        return done

    def studies(self, query: str | None = None) -> StudyPage:
        return read(StudyPage, self._ask("GET", "/studies", params={"q": query} if query else {}))

    def users(self) -> UserPage:
        """By name; for admins."""
        return read(UserPage, self._ask("GET", "/users"))

    def set_quotas(self, name: str, changes: Mapping[str, Any]) -> UserView:
        """`max_workers`, `max_queued_runs`, `gpu_hours_per_month` (None: the installation's default) and `weight`."""
        return read(UserView, self._ask("PATCH", f"/users/{quote(name, safe='')}", json=dict(changes)))

    def log(
        self, run_id: str, attempt: int, *, source: str | None = None, lines: int = 200, after: int | None = None
    ) -> LogTail:
        """The last lines of a log (1 to 5,000), or with `after` those behind that byte offset."""
        asked = {"lines": lines, "source": source, "after": after}
        query = {key: value for key, value in asked.items() if value is not None}
        return read(LogTail, self._ask("GET", f"{path_of(run_id)}/attempts/{attempt}/log", params=query))

    def checkpoints(self, run_id: str) -> Checkpoints:
        """Those that are on storage, newest first."""
        return read(Checkpoints, self._ask("GET", f"{path_of(run_id)}/checkpoints"))

    def metrics(self, run_id: str, names: Sequence[str], *, max_points: int = 1000) -> dict[str, Any]:
        """Columns as the API answers them: series with steps and values."""
        query: dict[str, Any] = {"names": ",".join(names), "max_points": max_points}
        answer: dict[str, Any] = self._ask("GET", f"{path_of(run_id)}/metrics", params=query)
        return answer

    @property
    def webhooks(self) -> Webhooks:
        """Webhooks and their delivery logs."""
        return Webhooks(self._ask)

    @property
    def uploads(self) -> Uploads:
        """Data sets that go to the first data root."""
        return Uploads(self._ask)

    @property
    def operations(self) -> Operations:
        """Nodes, what is kept no longer, and a look at every part; for admins."""
        return Operations(self._ask)

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
        if answer.status_code == 204:
            return None
        try:
            return answer.json()
        except ValueError:
            raise Failure(
                f"{self.url} answered {method} {path} with something that is not JSON: is it Basin's API?",
                ExitCode.unreachable,
            ) from None


def submission(spec: TrainingSpec | Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """The body of a submission: the spec, and what is given of name, project, visibility, study, priority, copied_from.

    What is None is left out, so that the API's default holds.
    """
    document = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, TrainingSpec) else dict(spec)
    return {"spec": document} | {key: value for key, value in about.items() if value is not None}


def path_of(run_id: str) -> str:
    return f"/runs/{quote(run_id, safe='')}"
