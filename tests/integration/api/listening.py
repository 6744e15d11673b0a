"""Readers of the live stream for tests: what a browser's EventSource does, with every event kept with its id."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from tests.integration.api.stack import Api, person

WITHIN_SECONDS = 20.0


class Heard(NamedTuple):
    kind: str
    data: Any
    id: str


class Ear:
    """Reads a stream in a thread; `next(kind)` waits for the next event of that kind."""

    def __init__(self, response: httpx.Response) -> None:
        self._events: queue.Queue[Heard] = queue.Queue()
        self._response = response
        self.hello = Heard("", None, "")
        self.last_id = ""
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, kind: str) -> Any:
        return self.next_event(kind).data

    def next_event(self, kind: str) -> Heard:
        give_up_at = time.monotonic() + WITHIN_SECONDS
        while (heard := self.next_any(give_up_at - time.monotonic(), what=kind)).kind != kind:
            pass
        return heard

    def next_any(self, within: float = WITHIN_SECONDS, *, what: str = "event") -> Heard:
        try:
            return self._events.get(timeout=max(0.01, within))
        except queue.Empty:
            raise AssertionError(f"no {what} within {WITHIN_SECONDS} s") from None

    def heard(self) -> list[Heard]:
        """What waits now, without waiting."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def _read(self) -> None:
        try:
            for heard in events_in(self._response):
                self.last_id = heard.id
                self._events.put(heard)
        except httpx.HTTPError:
            pass
        self._events.put(Heard("end", None, ""))


def events_in(response: httpx.Response) -> Iterator[Heard]:
    """The events of an open stream, as they come."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "event" in fields:
                yield Heard(fields["event"], json.loads(fields["data"]), fields["id"])
            fields = {}


@contextmanager
def streaming(
    api: Api, who: str = "max", topics: str = "runs", *, header: str | None = None, query: str | None = None
) -> Iterator[httpx.Response]:
    """An open stream, read by nobody yet; `header` and `query`: the id of the last event received."""
    headers = person(who) | ({"Last-Event-ID": header} if header is not None else {})
    params = {"topics": topics} | ({"last_event_id": query} if query is not None else {})
    with (
        httpx.Client(base_url=api.url, timeout=60) as http,
        http.stream("GET", "/api/v1/stream", headers=headers, params=params) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        yield response


@contextmanager
def listening(
    api: Api, who: str = "max", topics: str = "runs", *, header: str | None = None, query: str | None = None
) -> Iterator[Ear]:
    """An ear on a stream that has said hello."""
    with streaming(api, who, topics, header=header, query=query) as response:
        ear = Ear(response)
        ear.hello = ear.next_event("hello")
        yield ear
