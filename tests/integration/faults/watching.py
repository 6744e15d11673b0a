"""What the fault tests look at: a run over HTTP, its points, and the processes that train it."""

from __future__ import annotations

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

    def __init__(self, api_url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=f"{api_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, spec: dict[str, Any], **headers: str) -> str:
        answer = self._http.post("/runs", json={"spec": spec}, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["id"])

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
        answer = self._patiently(f"/runs/{run_id}/metrics?max_points=5000")
        return {
            series["name"]: list(zip(series["steps"], series["values"], strict=True))
            for series in answer["series"]
            if series["name"] in DETERMINISTIC
        }

    def _patiently(self, path: str, seconds: float = 240) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            try:
                answer = self._http.get(path)
                if answer.status_code == 200:
                    document: dict[str, Any] = answer.json()
                    return document
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
