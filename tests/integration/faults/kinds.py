"""What can go wrong: twelve kinds of fault, each with what makes it, what undoes it, and what it costs a run."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from cli.stack import valkey
from tests.integration.faults.clock import OwnClock
from tests.integration.faults.ground import Ground
from tests.integration.faults.watching import processes_of

PAUSE_SECONDS = 30.0
JUMPS = (7200, -7200, 40 * 86400, -40 * 86400)
"""Seconds: a wrong time zone, a battery gone flat."""
DISK_FULL_SECONDS = 180.0

Undo = Callable[[], None]


def nothing() -> None:
    """To undo."""


@dataclass(frozen=True)
class Strike:
    """A fault that is ready for one run: `now` makes it, `undo` is called after the run's end."""

    now: Callable[[str], None]
    undo: Undo = nothing


@dataclass(frozen=True)
class Kind:
    name: str
    ready: Callable[[Ground, random.Random], Strike]
    """Before the run is submitted."""
    while_training: bool
    """Whether it can only strike at a step, since there has to be a process to end or a checkpoint to spoil."""
    ends_attempt: bool
    """True: the run needs another attempt. False: a second attempt would be a fault of ours."""


def kill_part(part: str) -> Callable[[Ground, random.Random], Strike]:
    def ready(ground: Ground, chance: random.Random) -> Strike:
        def now(run_id: str) -> None:
            old = ground.stack.kill(part)
            ground.stack.wait_until_back(part, old)

        return Strike(now)

    return ready


def kill_driver(ground: Ground, chance: random.Random) -> Strike:
    def now(run_id: str) -> None:
        victims = processes_of(str(ground.stack.home), "trainer.main")
        assert victims, "no driver of this stack is running"
        os.kill(victims[-1].pid, signal.SIGKILL)

    return Strike(now)


def kill_rank(ground: Ground, chance: random.Random) -> Strike:
    """Rank 1 reports nothing itself; rank 0 does."""
    rank = chance.choice((0, 1))
    return Strike(lambda run_id: kill_process_of(ground, run_id, rank))


def kill_process_of(ground: Ground, run_id: str, rank: int) -> None:
    """The process of a rank in the newest attempt."""
    logs = sorted(ground.storage.rglob(f"{run_id}/**/rank-{rank}.log"))
    found = re.search(rf"Rank {rank} is process (\d+)", logs[-1].read_text(encoding="utf-8"))
    assert found, logs[-1].read_text(encoding="utf-8")
    os.kill(int(found[1]), signal.SIGKILL)


def fill_disk(ground: Ground, chance: random.Random) -> Strike:
    disk = ground.disk
    assert disk is not None

    def now(run_id: str) -> None:
        disk.fill()
        try:
            ground.watch.until(
                run_id,
                lambda run: any(attempt["reason"] == "disk_full" for attempt in run["attempts"]),
                within=DISK_FULL_SECONDS,
            )
        finally:
            disk.free()

    return Strike(now, disk.free)


def jump_clock(ground: Ground, chance: random.Random) -> Strike:
    clock = OwnClock(ground.stack, chance.choice(("api", "celery", "beat")), ground.folder)
    seconds = chance.choice(JUMPS)
    return Strike(lambda run_id: clock.jump(seconds), clock.give_back)


def flush_broker(ground: Ground, chance: random.Random) -> Strike:
    config = ground.stack.config

    def now(run_id: str) -> None:
        with redis.Redis.from_url(valkey.url(config.ports["valkey"], config.valkey_password)) as broker:
            broker.flushall()

    return Strike(now)


def pause_network(ground: Ground, chance: random.Random) -> Strike:
    def now(run_id: str) -> None:
        ground.line.pause()
        try:
            time.sleep(PAUSE_SECONDS)
        finally:
            ground.line.resume()

    return Strike(now, ground.line.resume)


KINDS = (
    Kind("kill API", kill_part("api"), while_training=False, ends_attempt=False),
    Kind("kill Celery worker", kill_part("celery"), while_training=False, ends_attempt=False),
    Kind("kill beat", kill_part("beat"), while_training=False, ends_attempt=False),
    Kind("kill Valkey", kill_part("valkey"), while_training=False, ends_attempt=False),
    Kind("kill PostgreSQL", kill_part("postgres"), while_training=False, ends_attempt=False),
    Kind("kill driver", kill_driver, while_training=True, ends_attempt=True),
    Kind("kill Ray worker process", kill_rank, while_training=True, ends_attempt=True),
    Kind("kill Ray head", kill_part("ray"), while_training=True, ends_attempt=True),
    Kind("full disk", fill_disk, while_training=True, ends_attempt=True),
    Kind("clock jump", jump_clock, while_training=False, ends_attempt=False),
    Kind("flush broker", flush_broker, while_training=False, ends_attempt=False),
    Kind("network pause", pause_network, while_training=False, ends_attempt=False),
)


def possible(ground_has_disk: bool) -> list[Kind]:
    return [kind for kind in KINDS if ground_has_disk or kind.name != "full disk"]


def last_log(storage: Path, run_id: str) -> str:
    """The end of the newest log of the run, for a message."""
    logs = sorted(storage.rglob(f"{run_id}/**/*.log"), key=lambda log: log.stat().st_mtime)
    return logs[-1].read_text(encoding="utf-8", errors="replace")[-2000:] if logs else ""
