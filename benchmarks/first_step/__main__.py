"""Seconds from submit to the end of the first optimizer step: the service's 2 workers against a cold single process."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

SPEC: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4},
    },
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "method": {"name": "looksam"},
    "global_batch_size": 256,
    "steps": 3,
    "resources": {"workers": 2},
}
STAGES = ("answered", "submitted_to_ray", "claimed", "rank0_up", "libraries_loaded", "joined", "first_step")
IN_RANK0_LOG = {"rank0_up": "Rank 0 is process", "libraries_loaded": "Libraries are loaded", "joined": "trains on"}
IDLE_SECONDS = 3.0
"""Between rounds, so that the last one's processes are gone and the stack is idle."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.first_step", description=__doc__)
    options.add_argument("--times", type=int, default=5, help="rounds of each (default 5)")
    options.add_argument("--quick", action="store_true", help="two rounds of each")
    chosen = options.parse_args()
    times = 2 if chosen.quick else chosen.times
    with tempfile.TemporaryDirectory(prefix="basin-bench-") as folder:
        rounds = measure(Path(folder), times)
    report(rounds)
    return 0


def measure(folder: Path, times: int) -> list[dict[str, Any]]:
    """A B A B ...: a run of the service, then a cold process, `times` times."""
    stack, url, token = start_stack(folder)
    try:
        http = httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30)
        rounds = []
        for number in range(1, times + 1):
            time.sleep(IDLE_SECONDS)
            service = one_run(http)
            time.sleep(IDLE_SECONDS)
            bare = one_process(folder, number)
            shown = ", ".join(f"{stage} {service[stage]:.2f}" for stage in STAGES)
            print(f"round {number}: service {service['first_step']:.2f} s ({shown}); process {bare:.2f} s", flush=True)
            rounds.append({"service": service, "process": bare})
        return rounds
    finally:
        stack.send_signal(signal.SIGINT)
        stack.wait(timeout=60)


def start_stack(folder: Path) -> tuple[subprocess.Popen[str], str, str]:
    """A stack of its own in `folder`; returns it with its address and token."""
    basin = Path(sys.executable).with_name("basin")
    environment = {**os.environ, "BASIN_HOME": str(folder / "home")}
    stack = subprocess.Popen(
        [str(basin), "up", "--slots", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert stack.stdout is not None
    for line in stack.stdout:
        if "/#token=" in line:
            url, token = line.split()[-1].split("/#token=")
            # The pipe must be emptied, or the stack would block on its own logs.
            subprocess.Popen(["cat"], stdin=stack.stdout, stdout=subprocess.DEVNULL)
            return stack, url, token
    raise SystemExit("the stack did not come up; run `basin up` to see why")


def one_run(http: httpx.Client) -> dict[str, float]:
    """Seconds after the POST at which each stage was over; all clocks are this machine's."""
    sent = datetime.now(UTC)
    run_id = http.post("/runs", json={"spec": SPEC}).raise_for_status().json()["id"]
    answered = datetime.now(UTC)
    while True:
        run = http.get(f"/runs/{run_id}").raise_for_status().json()
        if run["status"] in ("succeeded", "failed", "cancelled"):
            break
        time.sleep(0.2)
    if run["status"] != "succeeded":
        raise SystemExit(f"run {run_id} ended {run['status']}: {run['reason']} {run['detail']}")
    [attempt] = run["attempts"]
    log = http.get(f"/runs/{run_id}/attempts/1/log", params={"source": "rank-0"}).raise_for_status().json()["lines"]
    moments = {
        "answered": answered,
        "submitted_to_ray": datetime.fromisoformat(attempt["submitted_at"]),
        "claimed": datetime.fromisoformat(attempt["claimed_at"]),
        "first_step": datetime.fromisoformat(attempt["first_step_at"]),
    }
    for stage, words in IN_RANK0_LOG.items():
        [line] = [line for line in log if words in line]
        moments[stage] = datetime.fromisoformat(line.split()[0])
    return {stage: (moments[stage] - sent).total_seconds() for stage in STAGES}


def one_process(folder: Path, number: int) -> float:
    """Seconds from the start of a cold `python -m trainer` to the end of its first step."""
    file = folder / "spec.json"
    file.write_text(json.dumps(SPEC), encoding="utf-8")
    command = [sys.executable, "-m", "trainer", "--spec", str(file), "--folder", str(folder / f"p{number}"), "--json"]
    started = datetime.now(UTC)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    [at] = [line["at"] for line in lines if line["event"] == "first_step"]
    return (datetime.fromisoformat(at) - started).total_seconds()


def report(rounds: list[dict[str, Any]]) -> None:
    process = statistics.median(each["process"] for each in rounds)
    stages = {stage: statistics.median(each["service"][stage] for each in rounds) for stage in STAGES}
    print(f"\nmedian of {len(rounds)}: service {stages['first_step']:.2f} s, single process {process:.2f} s")
    before = 0.0
    for stage in STAGES:
        print(f"  {stage:<17} at {stages[stage]:6.2f} s  (+{stages[stage] - before:.2f})")
        before = stages[stage]
    figures = {
        "question": "first_step",
        "rounds": len(rounds),
        "service_seconds": round(stages["first_step"], 3),
        "process_seconds": round(process, 3),
        "ratio": round(stages["first_step"] / process, 3),
        "stages": {stage: round(seconds, 3) for stage, seconds in stages.items()},
        "target": None,
        "holds": True,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
