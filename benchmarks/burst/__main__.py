"""A thousand runs submitted in one burst by eight clients: how long an answer takes, what is lost, in which order."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import Stack, running_stack
from worker.ray_jobs import RayError, RayJobs

SLOTS = 2
CLIENTS = 8
EXECUTED = 10
SLOWEST_SECONDS = 1.0
BULK = 200
"""Runs of one bulk cancel."""
LONGEST_SECONDS = 900.0
TINY: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
    },
    "optimizer": {"name": "adamw", "lr": 0.001},
    "global_batch_size": 32,
    "steps": 2,
}
OVER = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A submission, and when its client had the answer."""

    run_id: str
    seconds: float
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A run that was given its slots. The three moments are of one machine's clock."""

    submitted_at: datetime
    """When the API took it in."""
    answered_at: datetime
    """When its client had the answer: from then on every admission sees it."""
    began_at: datetime


@dataclass
class Watched:
    """What Ray held at once, looked at until `stop`."""

    most: int = 0
    looks: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self, stack: Stack) -> None:
        with RayJobs(stack.ray_url, stack.ray_token) as ray:
            while not self.stop.wait(0.5):
                try:
                    alive = sum(not job.state.is_over for job in ray.jobs().values())
                except RayError:
                    continue
                self.most, self.looks = max(self.most, alive), self.looks + 1


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.burst", description=__doc__)
    options.add_argument("--runs", type=int, default=1000, help="how many (default 1,000)")
    options.add_argument("--quick", action="store_true", help="100 runs")
    chosen = options.parse_args()
    count = 100 if chosen.quick else chosen.runs
    with tempfile.TemporaryDirectory(prefix="basin-burst-") as folder, running_stack(Path(folder) / "home") as stack:
        return play(stack, count)


def play(stack: Stack, count: int) -> int:
    watched = Watched()
    looking = threading.Thread(target=watched.look, args=(stack,), daemon=True)
    looking.start()
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(pool.map(lambda number: submit(stack, number), range(count)))
    burst_seconds = time.monotonic() - began
    print(f"{count} runs submitted in {burst_seconds:.1f} s", flush=True)
    with client(stack) as http:
        waits = begin_of(http, EXECUTED)
        cancelled = cancel_the_rest(http, waits)
        runs = until_over(http, count)
        begun = begun_runs(http, answers, waits)
    watched.stop.set()
    looking.join()
    return report(answers, runs, begun, cancelled, watched, burst_seconds)


def client(stack: Stack) -> httpx.Client:
    return httpx.Client(
        base_url=f"{stack.url}/api/v1", headers={"Authorization": f"Bearer {stack.token}"}, timeout=60, trust_env=False
    )


_LOCAL = threading.local()


def submit(stack: Stack, number: int) -> Answered:
    """Each client keeps its connection."""
    http: httpx.Client = getattr(_LOCAL, "http", None) or client(stack)
    _LOCAL.http = http
    began = time.monotonic()
    answer = http.post("/runs", json={"spec": {**TINY, "seed": number}, "name": f"burst-{number}"})
    answer.raise_for_status()
    seconds = time.monotonic() - began
    return Answered(run_id=str(answer.json()["id"]), seconds=seconds, at=datetime.now(UTC))


def begin_of(http: httpx.Client, wanted: int) -> list[dict[str, Any]]:
    """Waits until so many have left the queue; all runs as they are then."""
    give_up_at = time.monotonic() + LONGEST_SECONDS
    while True:
        runs = all_runs(http)
        begun = [run for run in runs if run["status"] != "queued"]
        if len(begun) >= wanted:
            return runs
        if time.monotonic() > give_up_at:
            raise SystemExit(f"only {len(begun)} of {wanted} runs began within {LONGEST_SECONDS:g} s")
        time.sleep(1)


def cancel_the_rest(http: httpx.Client, runs: list[dict[str, Any]]) -> list[str]:
    queued = [run["id"] for run in runs if run["status"] == "queued"]
    done: list[str] = []
    for at in range(0, len(queued), BULK):
        answer = http.post("/runs/cancel", json={"run_ids": queued[at : at + BULK]})
        answer.raise_for_status()
        done += answer.json()["cancelled"]
    return done


def until_over(http: httpx.Client, count: int) -> list[dict[str, Any]]:
    give_up_at = time.monotonic() + LONGEST_SECONDS
    while True:
        runs = all_runs(http)
        if len(runs) >= count and all(run["status"] in OVER for run in runs):
            return runs
        if time.monotonic() > give_up_at:
            raise SystemExit(f"after {LONGEST_SECONDS:g} s not all of the runs are over")
        time.sleep(1)


def begun_runs(http: httpx.Client, answers: Sequence[Answered], waits: Sequence[dict[str, Any]]) -> dict[str, Begun]:
    """Those that had left the queue in `waits`, by id; a run begins when its first attempt is made."""
    answered_at = {answer.run_id: answer.at for answer in answers}
    found: dict[str, Begun] = {}
    for run_id in [run["id"] for run in waits if run["status"] != "queued"]:
        answer = http.get(f"/runs/{run_id}")
        answer.raise_for_status()
        run = answer.json()
        found[run_id] = Begun(
            submitted_at=datetime.fromisoformat(run["created_at"]),
            answered_at=answered_at[run_id],
            began_at=datetime.fromisoformat(run["attempts"][0]["created_at"]),
        )
    return found


def overtaken(begun: Sequence[Begun]) -> int:
    """How many began after a younger one, though they already waited when that one began. Pure.

    Of two that were being submitted at the same moment the younger may be there first, and begin first.
    """
    return sum(
        any(
            other.submitted_at > run.submitted_at and run.answered_at < other.began_at < run.began_at
            for other in begun
        )
        for run in begun
    )  # fmt: skip


def all_runs(http: httpx.Client) -> list[dict[str, Any]]:
    """Page after page."""
    runs: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = http.get("/runs", params={"limit": "200", **cursor})
        answer.raise_for_status()
        page = answer.json()
        runs += page["items"]
        if not page.get("next_cursor"):
            return runs
        cursor = {"cursor": page["next_cursor"]}


def report(
    answers: list[Answered], runs: list[dict[str, Any]], begun: dict[str, Begun], cancelled: list[str],
    watched: Watched, burst_seconds: float,
) -> int:  # fmt: skip
    seconds = sorted(answer.seconds for answer in answers)
    slowest = seconds[max(0, round(0.99 * len(seconds)) - 1)]
    oldest = sorted(runs, key=lambda run: (run["created_at"], run["id"]))[: len(begun)]
    ended = Counter(run["status"] for run in runs)
    found = {
        "question": "burst",
        "runs": len(answers), "clients": CLIENTS, "burst_seconds": round(burst_seconds, 1),
        "median_seconds": round(statistics.median(seconds), 4), "p99_seconds": round(slowest, 4),
        "slowest_seconds": round(seconds[-1], 4), "target_p99_seconds": SLOWEST_SECONDS,
        "lost": len({answer.run_id for answer in answers} - {run["id"] for run in runs}),
        "doubled": len(runs) - len({run["id"] for run in runs}),
        "begun": len(begun), "begun_are_the_oldest": begun.keys() == {run["id"] for run in oldest},
        "overtaken": overtaken(list(begun.values())),
        "asked_to_cancel": len(cancelled), **ended,
        "most_jobs_at_once": watched.most, "slots": SLOTS, "looks": watched.looks,
    }  # fmt: skip
    found["holds"] = (
        slowest < SLOWEST_SECONDS and found["lost"] == 0 and found["doubled"] == 0
        and found["begun_are_the_oldest"] and found["overtaken"] == 0 and ended["succeeded"] >= EXECUTED
        and ended["succeeded"] + ended["cancelled"] == len(answers)  # one that began meanwhile may do either
        and watched.most <= SLOTS
    )  # fmt: skip
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
