"""The service's own processes beside a test: the API under uvicorn, the Celery worker, beat; with their logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from api.settings import Settings
from tests.integration.services import free_port

BOOT_SECONDS = 120.0
ROOT_WARNING = "ignore:You're running the worker with superuser"
CELERY = [sys.executable, "-W", ROOT_WARNING, "-m", "celery", "-q", "-A", "worker.app"]


def as_environment(settings: Settings, **more: str) -> dict[str, str]:
    """The variables from which a process builds the same settings, but for what this one's environment says."""
    values: dict[str, str] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            secret = getattr(value, "get_secret_value", None)
            between = os.pathsep if name == "data_roots" else ","
            text = between.join(map(str, value)) if isinstance(value, tuple) else str(value)
            values[f"BASIN_{name.upper()}"] = secret() if secret else text
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BASIN_", "OTEL_"))}
    return {**kept, **values, **more}


class Log:
    """What a process wrote so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every whole line, each of which has to be a JSON object."""
        found = [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]
        assert all(isinstance(event, dict) for event in found)
        return found

    def until(self, event: str, within: float = BOOT_SECONDS, **fields: Any) -> dict[str, Any]:
        """The first such event."""
        wanted = {"event": event, **fields}
        return until(
            lambda: next((found for found in self.events if wanted.items() <= found.items()), None),
            what=f"{wanted} in the log",
            within=within,
            shown=lambda: self.text[-3000:],
        )


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with SIGTERM, and it may not have ended by itself."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=dict(environment), cwd=log.parent, stdout=output, stderr=output)
    try:
        yield process
        assert process.poll() is None, f"it ended by itself:\n{log.read_text()[-4000:]}"
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def api_process(settings: Settings, folder: Path, *arguments: str, **more: str) -> Iterator[tuple[str, Log]]:
    """Its URL, once it answers, and its log."""
    port = free_port()
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app_from_environment",
        "--host", "127.0.0.1", "--port", str(port), "--timeout-graceful-shutdown", "3", *arguments,
    ]  # fmt: skip
    log = Log(folder / "api.log")
    url = f"http://127.0.0.1:{port}"
    with running(command, as_environment(settings, BASIN_API_URL=url, **more), log.path):
        until(lambda: _answers(url), what="the API", within=BOOT_SECONDS, shown=lambda: log.text[-3000:])
        yield url, log


def until(look: Callable[[], Any], *, what: str, within: float, shown: Callable[[], str] = str) -> Any:
    give_up_at = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < give_up_at, f"not seen within {within} s: {what}\n{shown()}"
        time.sleep(0.1)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=30).is_success
    except httpx.TransportError:
        return False
