"""The containers' health checks: what they hold for well and what they say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from docker import health

Answers = dict[str, tuple[int, dict[str, Any]]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answers], None]]:
    """A server with these answers by path, where the checks look for API and Ray."""
    answers: Answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(health, "API", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(health, "JOBS_PORT", server.server_port)
    monkeypatch.setenv("BASIN_RAY_HEAD", "127.0.0.1:6379")
    yield answers.update
    server.shutdown()
    thread.join()
    server.server_close()


def readiness(**failing: str) -> dict[str, Any]:
    names = ("database", "migrations", "broker", "celery worker", "ray")
    checks = [{"name": n, "ok": n not in failing, "detail": failing.get(n, "answers")} for n in names]
    return {"ready": not failing, "checks": checks}


def nodes(*living: str) -> dict[str, Any]:
    rows = [{"node_ip": ip, "state": "ALIVE"} for ip in living] + [{"node_ip": "127.0.0.1", "state": "DEAD"}]
    return {"result": True, "data": {"result": {"result": rows}}}


def test_an_api_is_well_while_ray_is_away(serve: Callable[[Answers], None], capsys: pytest.CaptureFixture[str]) -> None:
    serve({"/readyz": (503, readiness(ray="last seen 90 s ago"))})
    assert health.main(["api"]) == 0
    assert health.main(["ready"]) == 1
    assert "ray: last seen 90 s ago" in capsys.readouterr().out


def test_an_api_without_its_database_is_not_and_says_so(
    serve: Callable[[Answers], None], capsys: pytest.CaptureFixture[str]
) -> None:
    # Then nothing that needs it is looked at, migrations for one.
    serve({"/readyz": (503, {"ready": False, "checks": [
        {"name": "database", "ok": False, "detail": "the database did not answer"},
        {"name": "broker", "ok": True, "detail": "answers"},
    ]})})  # fmt: skip
    assert health.main(["api"]) == 1
    assert "database: the database did not answer; migrations: not looked at" in capsys.readouterr().out


def test_a_stack_is_ready_when_all_parts_are(serve: Callable[[Answers], None]) -> None:
    serve({"/readyz": (200, readiness())})
    assert health.main(["ready"]) == 0


def test_a_ray_worker_is_well_while_the_head_lists_it_alive(
    serve: Callable[[Answers], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/api/v0/nodes?limit=1000"
    serve({path: (200, nodes("127.0.0.1"))})
    assert health.main(["ray-worker"]) == 0
    serve({path: (200, nodes("10.9.9.9"))})
    assert health.main(["ray-worker"]) == 1
    assert "does not list 127.0.0.1 among its living nodes ['10.9.9.9']" in capsys.readouterr().out
    serve({path: (401, {})})
    assert health.main(["ray-worker"]) == 1
    assert "answered 401" in capsys.readouterr().out


def test_nobody_listening_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(health, "API", "http://127.0.0.1:1")
    assert health.main(["api"]) == 1
    assert "did not answer" in capsys.readouterr().out


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(["postgres"]) == 2
    assert "usage: python health.py api|ready|ray-head|ray-worker" in capsys.readouterr().err
