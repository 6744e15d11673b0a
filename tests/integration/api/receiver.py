"""A real HTTP server that receives webhooks as a test wants it to: answers, fails, hangs, redirects."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True, kw_only=True)
class Received:
    path: str
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = field(default=b"", kw_only=True)
    headers: dict[str, str] = field(default_factory=dict, kw_only=True)
    hangs: bool = field(default=False, kw_only=True)
    """Says nothing until the receiver closes."""
    drips: bool = field(default=False, kw_only=True)
    """A header's byte now and then, for ever."""
    stays_open: bool = field(default=False, kw_only=True)
    """The body is sent, and its end never comes."""


class Receiver:
    """Gives `answers` one after the other, and then 200; notes what it was sent."""

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self._answers = list(answers)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                receiver._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?a=b"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """The payloads received, each signature checked as a receiver would."""
        return [Webhook(secret).verify(request.body, request.headers) for request in list(self.requests)]

    def answer_next(self, *answers: Answer) -> None:
        with self._lock:
            self._answers.extend(answers)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        received = Received(
            path=handler.path,
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=handler.rfile.read(length),
        )
        with self._lock:
            self.requests.append(received)
            answer = self._answers.pop(0) if self._answers else Answer()
        if answer.hangs:
            self._closing.wait(60)
            return
        if answer.drips:
            self._drip(handler)
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if not answer.stays_open:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)
        handler.wfile.flush()
        if answer.stays_open:
            self._closing.wait(60)

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self._closing.is_set():
                handler.wfile.write(b"a")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
