"""The proxy of the deployment, with its real Caddyfile: TLS, what it keeps to itself, and that streams come through."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack.ports import choose_ports

ROOT = Path(__file__).parents[3]
CADDY = Path(sys.executable).with_name("caddy")


class Upstream(BaseHTTPRequestHandler):
    """In the API's place: says which path came, and streams; the second event goes when the first was received."""

    protocol_version = "HTTP/1.1"
    first_arrived = threading.Event()

    def do_GET(self) -> None:
        if self.path != "/stream":
            body = f"{self.path} {self.headers['Host']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        self.first_arrived.wait(30)
        self.wfile.write(b"data: second\n\n")
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class Proxy:
    https: int
    http: int
    health: int


def caddyfile(ports: dict[str, int]) -> str:
    """The deployment's, on ports that are free here and in front of ours."""
    text = (ROOT / "docker/Caddyfile").read_text()
    replaced = {
        "admin off": f"admin off\n\thttps_port {ports['https']}\n\thttp_port {ports['http']}",
        "localhost:8081": f"localhost:{ports['health']}",
        "api:8000": f"127.0.0.1:{ports['api']}",
    }
    for ours, here in replaced.items():
        assert ours in text
        text = text.replace(ours, here)
    return text


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if not CADDY.exists():
        pytest.skip("there is no wheel of Caddy for this platform")
    folder = tmp_path_factory.mktemp("proxy")
    ports = choose_ports(("https", "http", "health", "api"))
    server = ThreadingHTTPServer(("127.0.0.1", ports["api"]), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (folder / "Caddyfile").write_text(caddyfile(ports))
    environment = {
        "PATH": os.environ["PATH"], "XDG_DATA_HOME": str(folder / "data"), "XDG_CONFIG_HOME": str(folder),
        "BASIN_HOST": "localhost", "BASIN_TLS_PORT": str(ports["https"]),
    }  # fmt: skip
    command = [str(CADDY), "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        running = Proxy(https=ports["https"], http=ports["http"], health=ports["health"])
        _wait(process, running, folder / "caddy.log")
        yield running
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()
        thread.join()
        server.server_close()


def _wait(process: subprocess.Popen[bytes], proxy: Proxy, log: Path) -> None:
    """Until it answers by TLS: its authority and certificate are made after the start."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            get(proxy, "/").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    pytest.fail(f"Caddy did not come up:\n{log.read_text()}")


def get(proxy: Proxy, path: str) -> httpx.Response:
    return httpx.get(f"https://localhost:{proxy.https}{path}", verify=False, trust_env=False, timeout=30)


def test_requests_go_through_with_the_name_they_were_sent_to(proxy: Proxy) -> None:
    assert get(proxy, "/api/v1/runs").text == f"/api/v1/runs localhost:{proxy.https}"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/api/v1/metrics", "//metrics", "/./metrics", "/%6detrics"])
def test_the_operations_numbers_are_not_for_everybody(proxy: Proxy, path: str) -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with closing(HTTPSConnection("localhost", proxy.https, context=trusting, timeout=30)) as connection:
        connection.request("GET", path)  # As it stands: other clients tidy paths up.
        assert connection.getresponse().status == 404


def test_a_runs_metrics_are(proxy: Proxy) -> None:
    assert get(proxy, "/api/v1/runs/abc/metrics").status_code == 200


def test_events_arrive_one_by_one(proxy: Proxy) -> None:
    with httpx.stream(
        "GET", f"https://localhost:{proxy.https}/stream", verify=False, trust_env=False, timeout=60
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: first"
        Upstream.first_arrived.set()
        assert [line for line in lines if line] == ["data: second"]
    assert "content-encoding" not in answer.headers


def test_plain_http_leads_to_tls(proxy: Proxy) -> None:
    answer = httpx.get(f"http://localhost:{proxy.http}/runs?status=running", trust_env=False, timeout=30)
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://localhost:{proxy.https}/runs?status=running"


def test_the_health_check_is_of_the_proxy_alone(proxy: Proxy) -> None:
    answer = httpx.get(f"http://localhost:{proxy.health}/", trust_env=False, timeout=30)
    assert (answer.status_code, answer.text) == (200, ""), "not what the API would say"
