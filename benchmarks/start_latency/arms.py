"""One measurement of each kind: a run of the service, a cold process, a naive Ray job. Seconds; one machine's clock."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx

from benchmarks.stack import Stack
from benchmarks.start_latency.spec import spec_for

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).resolve().parent
STAGES = ("queue", "job start", "driver", "worker group", "imports", "join", "first batch")
"""In the order of time; each entry of a run's stages is the moment at which it was over."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
RUN_SECONDS = 180.0
POLL_SECONDS = 1.0
"""Answers take processor time from the run that is measured; its own clock says when the first step was over."""


def service_run(stack: Stack, workers: int) -> dict[str, float]:
    """Seconds after the POST was sent at which each stage was over; the last is the end of the first optimizer step."""
    with httpx.Client(
        base_url=f"{stack.url}/api/v1", headers={"Authorization": f"Bearer {stack.token}"}, timeout=30, trust_env=False
    ) as http:
        sent = datetime.now(UTC)
        run_id = http.post("/runs", json={"spec": spec_for(workers)}).raise_for_status().json()["id"]
        run = _until_over(http, run_id)
        attempt = run["attempts"][0]
        logs = {
            source: http.get(f"/runs/{run_id}/attempts/1/log", params={"source": source})
            .raise_for_status()
            .json()["lines"]
            for source in ("driver", "rank-0")
        }
    moments = [
        datetime.fromisoformat(attempt["submitted_at"]),
        datetime.fromisoformat(_line(logs["driver"], "program began at").split()[-1]),
        datetime.fromisoformat(attempt["claimed_at"]),
        datetime.fromisoformat(_line(logs["rank-0"], "Rank 0 is process").split()[0]),
        datetime.fromisoformat(_line(logs["rank-0"], "Libraries are loaded").split()[0]),
        datetime.fromisoformat(_line(logs["rank-0"], "trains on").split()[0]),
        datetime.fromisoformat(attempt["first_step_at"]),
    ]
    return {stage: (moment - sent).total_seconds() for stage, moment in zip(STAGES, moments, strict=True)}


def cold_process(folder: Path) -> float:
    """From the start of `python -m trainer` with the one-worker spec to the end of its first step."""
    folder.mkdir(parents=True)
    file = folder / "spec.json"
    file.write_text(json.dumps(spec_for(1)), encoding="utf-8")
    command = [sys.executable, "-m", "trainer", "--spec", str(file), "--folder", str(folder / "run"), "--json"]
    started = datetime.now(UTC)
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    [at] = [line["at"] for line in lines if line["event"] == "first_step"]
    return (datetime.fromisoformat(at) - started).total_seconds()


def naive_job(stack: Stack, workers: int, folder: Path, packages: Path) -> float:
    """From the POST to Ray's job API to the end of the first step, on the same Ray head."""
    folder.mkdir(parents=True)
    moment = folder / "first-step"
    config = json.dumps({"spec": spec_for(workers), "folder": str(folder), "moment": str(moment)})
    body = {
        "entrypoint": f"{sys.executable} {PACKAGE / 'naive_job.py'} '{config}'",
        "runtime_env": {"env_vars": {"PYTHONPATH": f"{packages}:{REPOSITORY}"}},
    }
    with httpx.Client(
        base_url=stack.ray_url, headers={"Authorization": f"Bearer {stack.ray_token}"}, timeout=60, trust_env=False
    ) as http:
        sent = datetime.now(UTC)
        job = http.post("/api/jobs/", json=body).raise_for_status().json()["submission_id"]
        status = ""
        give_up_at = time.monotonic() + RUN_SECONDS
        while status not in ENDED and time.monotonic() < give_up_at:
            time.sleep(0.3)
            status = http.get(f"/api/jobs/{job}").raise_for_status().json()["status"]
        if status != "SUCCEEDED":
            log = http.get(f"/api/jobs/{job}/logs").json().get("logs", "")
            raise SystemExit(f"the naive job ended {status or 'not at all'}:\n{log[-2000:]}")
    return (datetime.fromisoformat(moment.read_text(encoding="ascii")) - sent).total_seconds()


def peer_packages() -> Path:
    """Installs what the naive job needs into a folder of its own, once."""
    folder = REPOSITORY / "build" / "start_latency" / "packages"
    if not (folder / ".complete").exists():
        print("Installing what Ray Train needs beside our own packages", flush=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "-r",
             str(PACKAGE / "peer.txt")],
            check=True,
        )  # fmt: skip
        (folder / ".complete").touch()
    return folder


def _until_over(http: httpx.Client, run_id: str) -> dict[str, object]:
    give_up_at = time.monotonic() + RUN_SECONDS
    while time.monotonic() < give_up_at:
        run: dict[str, object] = http.get(f"/runs/{run_id}").raise_for_status().json()
        if run["status"] == "succeeded":
            return run
        if run["status"] in ("failed", "cancelled"):
            raise SystemExit(f"run {run_id} ended {run['status']}: {run['reason']} {run['detail']}")
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"run {run_id} was not over after {RUN_SECONDS:g} s")


def _line(lines: list[str], words: str) -> str:
    return next(line for line in lines if words in line)
