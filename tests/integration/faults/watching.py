"""What the fault tests look at: a run over HTTP, its points, and the processes that train it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil

from trainer.contract.metrics import DETERMINISTIC

TERMINAL = {"succeeded", "failed", "cancelled"}
Points = dict[str, list[tuple[int, float | None]]]


class Watch:
    """A person with a token and patience: every call is retried while a part of the stack is down."""

    def __init__(self, api_url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        """`transport`: for a test of this class; off (None): the network."""
        self._http = httpx.Client(
            base_url=f"{api_url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
            transport=transport,
        )

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, spec: dict[str, Any], **about: Any) -> str:
        """`about` is the rest of the submission. Its key makes sending it again safe."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        answer = self._patiently("/runs", method="POST", json={"spec": spec, **about}, headers=headers)
        return str(answer["id"])

    def cancel(self, run_id: str) -> None:
        answer = self._http.post(f"/runs/{run_id}/cancel")
        assert answer.status_code in (200, 202), answer.text

    def run(self, run_id: str) -> dict[str, Any]:
        return self._patiently(f"/runs/{run_id}")

    def until(self, run_id: str, seen: Callable[[dict[str, Any]], bool], *, within: float) -> dict[str, Any]:
        """Polls until `seen(run)`; fails with the run's last state after `within` seconds."""
        end = time.monotonic() + within
        while True:
            run = self.run(run_id)
            if seen(run):
                return run
            shown = {k: run.get(k) for k in ("status", "reason", "detail", "step", "wait_reason", "attempts")}
            assert run["status"] not in TERMINAL, f"ended before it was seen: {shown}"
            assert time.monotonic() < end, f"not seen within {within} s: {shown}"
            time.sleep(0.1)

    def until_step(self, run_id: str, step: int, *, within: float = 240) -> dict[str, Any]:
        return self.until(run_id, lambda run: run["step"] >= step, within=within)

    def until_ended(self, run_id: str, *, within: float = 480) -> dict[str, Any]:
        return self.until(run_id, lambda run: run["status"] in TERMINAL, within=within)

    def points(self, run_id: str) -> Points:
        """All valid points of the metrics that the catalogue marks deterministic, by metric."""
        answer = self._patiently(f"/runs/{run_id}/metrics?max_points=10000")
        return {
            series["name"]: list(zip(series["steps"], series["values"], strict=True))
            for series in answer["series"]
            if series["name"] in DETERMINISTIC
        }

    def status_events(self, run_id: str) -> list[dict[str, Any]]:
        """What the run's moves left in its timeline, oldest first."""
        events = self._patiently(f"/runs/{run_id}/events?limit=1000")["items"]
        return [event for event in events if event["kind"] == "status"]

    def undisturbed(self, spec: dict[str, Any]) -> Points:
        """Plays a run to its end, and gives its points."""
        run = self.until_ended(self.submit(spec))
        assert run["status"] == "succeeded", run
        return self.points(run["id"])

    def _patiently(self, path: str, *, method: str = "GET", seconds: float = 240, **sent: Any) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            try:
                answer = self._http.request(method, path, **sent)
                if answer.is_success:
                    document: dict[str, Any] = answer.json()
                    return document
                assert answer.is_server_error, f"{method} {path}: {answer.status_code} {answer.text[:1000]}"
                problem = f"{answer.status_code} {answer.text[:300]}"
            except httpx.TransportError as error:
                problem = repr(error)
            assert time.monotonic() < end, f"{path} did not answer within {seconds} s: {problem}"
            time.sleep(0.2)


def processes_of(home: str, title: str) -> list[psutil.Process]:
    """Live processes whose command line holds `title` and whose environment belongs to the stack in `home`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if title in " ".join(process.info["cmdline"] or []) and home in str(process.environ()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
