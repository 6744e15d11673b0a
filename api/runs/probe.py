"""A question that may hang for ever, asked so that nobody else does: a file system of which the server is away, a
database behind a cut network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Probe(Generic[Answer]):
    """Asks in a thread of its own, at most one at a time; whoever comes meanwhile, or soon after, shares the answer."""

    def __init__(self, name: str, look: Callable[[], Answer], *, fresh_seconds: float, patience_seconds: float) -> None:
        self._name, self._look = name, look
        self._fresh_seconds, self.patience_seconds = fresh_seconds, patience_seconds
        self._lock = threading.Lock()
        self._asked: Future[Answer] | None = None
        self._answered_at = -float("inf")

    def ask(self) -> Future[Answer]:
        """The answer to come; never blocks. It carries whatever the question raised."""
        with self._lock:
            old = self._asked
            if old is not None and (not old.done() or time.monotonic() < self._answered_at + self._fresh_seconds):
                return old
            self._asked = future = Future[Answer]()
        # A daemon: a process that is to end does not wait for an answer that never comes.
        threading.Thread(target=self._run, args=(future,), name=f"probe-{self._name}", daemon=True).start()
        return future

    def read(self) -> Answer:
        """Waits for at most the patience. Raises TimeoutError, and whatever the question raised."""
        return self.ask().result(timeout=self.patience_seconds)

    def _run(self, future: Future[Answer]) -> None:
        try:
            answer = self._look()
        except BaseException as error:
            self._answered_at = time.monotonic()
            future.set_exception(error)
        else:
            self._answered_at = time.monotonic()
            future.set_result(answer)
