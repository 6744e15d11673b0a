"""Starting the parts so that they die with the supervisor, and finding what is left of one that did not.

Four nets, since each has a hole: the kernel kills direct children with the supervisor (PR_SET_PDEATHSIG; Linux only);
the guard ends the rest when the supervisor is gone; the next start does so again; and a part that died is swept before
it is restarted. Ray starts job drivers in sessions of their own, and its processes overwrite their environment with
their title, so a process counts as ours by either sign: our mark in its environment, or a session led by a recorded
process together with a working folder in BASIN_HOME.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from cli.stack.home import Home, write_private

MARK = "BASIN_STACK"
PART_MARK = "BASIN_PART"
PR_SET_PDEATHSIG = 1
SAME_START_SECONDS = 2.0
"""Start times are read through the boot time, which moves when the clock is set."""


@dataclass(frozen=True)
class Record:
    """A process the supervisor started: enough to recognise it after its pid was given to another."""

    part: str
    pid: int
    started: float
    """Unix seconds."""

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < SAME_START_SECONDS and not _is_dead(process)
        except psutil.NoSuchProcess:
            return False


def dies_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child does between fork and exec, so that the kernel sends it `death_signal` when we die."""
    if sys.platform != "linux":
        return None
    # Bound before the fork: between fork and exec nothing may be imported.
    prctl, getppid, parent, number = ctypes.CDLL(None).prctl, os.getppid, os.getpid(), int(death_signal)

    def set_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if getppid() != parent:
            os._exit(1)  # The parent died in between.

    return set_death_signal


def marked(environment: Mapping[str, str], stack_id: str, part: str) -> dict[str, str]:
    return {**environment, MARK: stack_id, PART_MARK: part}


class Records:
    """The processes of a stack, kept in a file that the guard and the next start read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._by_part: dict[str, Record] = {}

    def add(self, part: str, pid: int) -> Record:
        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started = time.time()
        self._by_part[part] = Record(part, pid, started)
        write_private(self._file, json.dumps([asdict(record) for record in self._by_part.values()]))
        return self._by_part[part]

    @staticmethod
    def read(file: Path) -> list[Record]:
        try:
            return [Record(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return []


def leftovers(home: Home, stack_id: str, records: Iterable[Record], part: str | None = None) -> list[psutil.Process]:
    """Living processes of the stack (or of one part), the caller, its ancestors and zombies excluded."""
    leaders = {record.pid: record for record in records if part in (None, record.part)}
    us = {process.pid for process in with_ancestors(psutil.Process())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in us and _belongs(process, home, stack_id, leaders, part)
    ]


def with_ancestors(process: psutil.Process) -> Iterator[psutil.Process]:
    """The process, its parent, and so on, as far as they live: `parents` raises when one dies meanwhile.

    The guard looks just when the supervisor, its parent, dies; raised there, it ended nothing.
    """
    ancestor: psutil.Process | None = process
    while ancestor is not None:
        yield ancestor
        try:
            ancestor = ancestor.parent()
        except psutil.NoSuchProcess:
            return


def _belongs(
    process: psutil.Process, home: Home, stack_id: str, leaders: Mapping[int, Record], part: str | None
) -> bool:
    try:
        if _is_dead(process):
            return False
        leader = leaders.get(process.pid)
        if leader is not None and leader.is_alive():
            return True
        with suppress(psutil.AccessDenied):
            environment = process.environ()
            if environment.get(MARK) == stack_id:
                return part is None or environment.get(PART_MARK) == part
        leader = leaders.get(os.getsid(process.pid))
        if leader is None or process.create_time() < leader.started - SAME_START_SECONDS:
            return False
        return Path(process.cwd()).is_relative_to(home.folder)
    except (psutil.Error, OSError):
        return False


def _is_dead(process: psutil.Process) -> bool:
    return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def end_leftovers(
    home: Home,
    stack_id: str,
    records: Iterable[Record],
    part: str | None = None,
    *,
    patience_seconds: float = 0.0,
    at_most_seconds: float = 10.0,
) -> int:
    """Ends what `leftovers` finds: SIGINT to PostgreSQL (its fast shutdown), SIGTERM to the others, then SIGKILL.

    Returns how many there were. Looks again until nothing is found, since a dying process may still start another.
    """
    records = list(records)
    found = leftovers(home, stack_id, records, part)
    postgres = {record.pid for record in records if record.part == "postgres"}
    if found and patience_seconds > 0:
        for process in found:
            _signal(process, signal.SIGINT if process.pid in postgres else signal.SIGTERM)
        _wait_until_dead(found, patience_seconds)
    count, give_up_at = len(found), time.monotonic() + at_most_seconds
    while left := leftovers(home, stack_id, records, part):
        for process in left:
            _signal(process, signal.SIGKILL)
        _wait_until_dead(left, 1.0)
        if time.monotonic() > give_up_at:
            break
    return count


def _wait_until_dead(processes: list[psutil.Process], seconds: float) -> None:
    """A zombie counts as dead: where process 1 collects nobody it stays for ever."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at and any(_is_alive(process) for process in processes):
        time.sleep(0.02)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and not _is_dead(process)
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
