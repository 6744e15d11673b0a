"""What has to be true once the dust has settled: nothing lost, nothing doubled, nothing left over."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import psycopg
import torch
from torch import Tensor

from cli.stack import postgres, ray_head
from cli.stack.home import Home
from tests.integration.faults.ground import Ground
from tests.integration.faults.kinds import Kind, last_log
from tests.integration.faults.watching import Points, processes_of
from tests.integration.running_stack import RunningStack
from trainer import checkpoint
from worker.ray_jobs import RayError, RayJobs

SETTLE_SECONDS = 90.0
"""Until slots are released and processes gone, at most."""


def of_the_end(ground: Ground, kind: Kind, run: dict[str, Any]) -> list[str]:
    """How the run ended, and in how many attempts. One sentence each, here and below; empty: all is well."""
    found = []
    if (run["status"], run["reason"]) != ("succeeded", "completed"):
        shown = {name: run.get(name) for name in ("status", "reason", "detail", "step", "attempts")}
        found.append(f"the run did not succeed: {shown}; {last_log(ground.storage, run['id'])}")
    attempts = [attempt["reason"] for attempt in run["attempts"]]
    if (len(attempts) > 1) != kind.ends_attempt:
        found.append(f"{len(attempts)} attempts {attempts}, should be {'more than one' if kind.ends_attempt else '1'}")
    return found


def different(points: Points, undisturbed: Points) -> list[str]:
    """Every valid deterministic point, value for value; a step that is there twice shows as one too many."""
    found = []
    if points.keys() != undisturbed.keys():
        found.append(f"metrics differ: {sorted(points.keys() ^ undisturbed.keys())}")
    for metric in sorted(points.keys() & undisturbed.keys()):
        if points[metric] == undisturbed[metric]:
            continue
        steps, expected = ([step for step, _ in series] for series in (points[metric], undisturbed[metric]))
        if steps != expected:
            lost, more = sorted(set(expected) - set(steps)), len(steps) - len(set(steps))
            found.append(f"{metric}: {len(lost)} points lost {lost[:5]}, {more} doubled")
        else:
            first = next(a for a, b in zip(points[metric], undisturbed[metric], strict=True) if a != b)
            found.append(f"{metric}: another value at step {first[0]}")
    return found


def different_weights(weights: dict[str, Tensor], undisturbed: dict[str, Tensor]) -> list[str]:
    """Bit for bit."""
    names = [name for name in undisturbed if name not in weights or not torch.equal(weights[name], undisturbed[name])]
    return [f"the final weights differ in {len(names)} tensors: {names[:3]}"] if names else []


def final_weights(storage: Path, run_id: str, steps: int) -> dict[str, Tensor]:
    [folder] = storage.rglob(f"{run_id}/**/checkpoints/step-{steps:08}")
    checkpoint.verify(folder)
    return checkpoint.read(folder).model


def left_over(ground: Ground) -> list[str]:
    """Slots, processes, jobs and torn files of runs that are over, when they had time to go."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while True:
        left = [*held_slots(ground.stack), *_processes(ground), *_jobs(ground), *torn(ground.storage)]
        if not left or time.monotonic() > give_up_at:
            return left
        time.sleep(0.3)


def forget(ground: Ground, run_id: str) -> None:
    """Removes the run's files, so that the small disk holds the next ones."""
    for folder in ground.storage.rglob(run_id):
        shutil.rmtree(folder, ignore_errors=True)


def held_slots(stack: RunningStack) -> list[str]:
    """By attempts of runs that are over."""
    config = stack.config
    url = postgres.url(config.ports["postgres"], config.postgres_password).replace("+psycopg", "")
    query = """SELECT count(*) FROM attempts JOIN runs ON runs.id = attempts.run_id
               WHERE attempts.slots_released_at IS NULL AND runs.status IN ('succeeded', 'failed', 'cancelled')"""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.OperationalError as error:
        return [f"the database does not answer: {error}"]
    assert row is not None
    return [f"{row[0]} attempts of ended runs hold slots"] if row[0] else []


def _processes(ground: Ground) -> list[str]:
    home = str(ground.stack.home)
    found = [process.pid for title in ("trainer.main", "ray::RankActor") for process in processes_of(home, title)]
    return [f"processes of an ended run live: {found}"] if found else []


def torn(storage: Path) -> list[str]:
    """Checkpoints half written or half removed, by the names that `trainer.checkpoint` gives them meanwhile."""
    found = [str(path) for path in storage.rglob("checkpoints/.*-step-*")]
    return [f"checkpoints that were neither finished nor removed: {found}"] if found else []


def _jobs(ground: Ground) -> list[str]:
    try:
        alive = living_jobs(ground.stack)
    except RayError as error:
        return [f"Ray does not answer: {error}"]
    return [f"Ray jobs live: {alive}"] if alive else []


def living_jobs(stack: RunningStack) -> list[str]:
    """Submission ids of the jobs that Ray does not call over. Raises RayError."""
    with RayJobs(ray_head.url(stack.config.ports["ray_jobs"]), Home(stack.home).ray_token()) as ray:
        return [job.submission_id for job in ray.jobs().values() if not job.state.is_over]
