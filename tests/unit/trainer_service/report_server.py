"""A small real HTTP server that keeps the report contract: the trainer's other side, without a database.

Faults are played request by request, so that a test says exactly what goes wrong where.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.contract.reports import Claim, ClaimRequest, Command, Report, ReportBatch, ReportReply, Writer

ATTEMPT, LAUNCH_CODE, TOKEN = "a1", "launch-code", "attempt-token"


class Fault(StrEnum):
    """What befalls one request."""

    none = "none"
    busy = "busy"
    """503, nothing stored."""
    cut_before = "cut_before"
    """The connection closes, nothing stored."""
    cut_after = "cut_after"
    """Stored, but the answer is lost."""
    garbage = "garbage"
    """200 with a page that is not ours, nothing stored."""


class ReportServer:
    """Claims and reports of one attempt, on a free port of the loopback interface. Use as a context manager."""

    def __init__(self, claim: Claim | None = None) -> None:
        self.claim = claim
        self.claimed_by: str | None = None
        self.claims: list[ClaimRequest] = []
        self.reports: dict[Writer, list[Report]] = {Writer.driver: [], Writer.rank0: []}
        self.batches: list[tuple[Writer, int, int]] = []
        self.faults: deque[Fault] = deque()
        self.refusal: tuple[int, str] | None = None
        self.command = Command.go_on
        self.superseded = False
        self.requests = 0
        self.lock = threading.RLock()
        self._address = ("127.0.0.1", 0)
        self._server: _Server | None = None

    def __enter__(self) -> ReportServer:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._address[1]}"

    def up(self) -> None:
        """Starts to listen, after `down` on the same port as before."""
        server = _Server(self._address, _Handler)
        server.state = self
        self._address = ("127.0.0.1", server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._server = server

    def down(self) -> None:
        """Stops listening and cuts every open connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_all()
            self._server = None

    def play(self, faults: Iterable[Fault]) -> None:
        """What befalls the next requests; those after them succeed."""
        with self.lock:
            self.faults = deque(faults)

    def of(self, writer: Writer, kind: str) -> list[Any]:
        """The stored reports of a kind; `Any`, for tests to read the fields of that kind."""
        with self.lock:
            return [report for report in self.reports[writer] if report.kind == kind]

    def sequence(self, writer: Writer) -> list[int]:
        with self.lock:
            return [report.seq for report in self.reports[writer]]

    def answer(self, path: str, bearer: str, body: bytes) -> tuple[int, str]:
        if self.refusal is not None:
            return self.refusal[0], _problem(self.refusal[1])
        if path == f"/api/v1/attempts/{ATTEMPT}/claim" and bearer == LAUNCH_CODE:
            return self._claim(ClaimRequest.model_validate_json(body))
        if path == f"/api/v1/attempts/{ATTEMPT}/reports" and bearer == TOKEN:
            return self._take_in(ReportBatch.model_validate_json(body))
        return 401, _problem("the token is not known")

    def _claim(self, request: ClaimRequest) -> tuple[int, str]:
        self.claims.append(request)
        if self.claimed_by not in (None, request.process_id):
            return 409, _problem("another process holds the attempt")
        assert self.claim is not None
        self.claimed_by = request.process_id
        return 200, self.claim.model_dump_json()

    def _take_in(self, batch: ReportBatch) -> tuple[int, str]:
        stored = self.reports[batch.writer]
        self.batches.append((batch.writer, batch.reports[0].seq, batch.reports[-1].seq))
        if self.superseded:
            return 200, self._reply(len(stored))
        for report in batch.reports:
            if report.seq > len(stored) + 1:
                return 409, _problem("reports are missing", acknowledged=len(stored))
            if report.seq == len(stored) + 1:
                stored.append(report)
        return 200, self._reply(len(stored))

    def _reply(self, acknowledged: int) -> str:
        command = Command.stop if self.superseded else self.command
        return ReportReply(acknowledged=acknowledged, command=command, superseded=self.superseded).model_dump_json()


def _problem(detail: str, **extra: Any) -> str:
    return json.dumps({"type": "about:blank", "title": "Refused", "detail": detail, **extra})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    state: ReportServer

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def handle_error(self, request: Any, client_address: Any) -> None:
        return  # a cut connection is what the test wanted


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        state = self.server.state
        body = self.rfile.read(int(self.headers["Content-Length"]))
        bearer = self.headers["Authorization"].removeprefix("Bearer ")
        with state.lock:
            state.requests += 1
            fault = state.faults.popleft() if state.faults else Fault.none
            if fault is Fault.none or fault is Fault.cut_after:
                status, content = state.answer(self.path, bearer, body)
            elif fault is Fault.garbage:
                status, content = 200, "<html>a proxy's page</html>"
            else:
                status, content = 503, _problem("busy")
        if fault in (Fault.cut_before, Fault.cut_after):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: Any) -> None:
        return
