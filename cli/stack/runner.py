"""One part under supervision: started when what it needs is there, restarted with back-off, held down on request."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

import httpx
import psycopg

from cli.failure import Failure
from cli.stack.home import Home
from cli.stack.output import PartOutput, say
from cli.stack.parts import Part
from cli.stack.processes import Records, dies_with_parent, end_leftovers, marked

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
HEALTHY_SECONDS = 30.0
"""A part that was ready for so long starts again with the first delay."""
START_ATTEMPTS = 3
"""At the stack's start; a part that has been ready once is restarted for ever."""
POLL_SECONDS = 0.1
CHECK_SECONDS = 5.0

NOT_READY = (OSError, TimeoutError, httpx.HTTPError, psycopg.OperationalError, KeyError, ValueError)


class State(StrEnum):
    waiting = "waiting"
    """For the parts it needs."""
    starting = "starting"
    ready = "ready"
    restarting = "restarting"
    """It died; the next start comes after a delay."""
    held = "held"
    """Stopped on request; stays down until `basin stack start`."""
    done = "done"
    """Ran once, well."""
    stopped = "stopped"


class Runner:
    """Runs one part until `stop`."""

    def __init__(self, part: Part, home: Home, stack_id: str, records: Records, needs: Mapping[str, Runner]) -> None:
        self.part = part
        self.state = State.waiting
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.reached = asyncio.Event()
        """Set when the part is ready (or done) for the first time."""
        self.ready = asyncio.Event()
        self._home = home
        self._stack_id = stack_id
        self._records = records
        self._needs = needs
        self._output = PartOutput(part.name, home.logs, part.shown)
        self._wanted = asyncio.Event()
        self._wanted.set()
        self._stopping = False
        self._copying: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    @property
    def _unwanted(self) -> bool:
        return self._stopping or not self._wanted.is_set()

    async def run(self) -> None:
        """Until stopped. Raises Failure if the part never gets ready."""
        for name in self.part.needs:
            await self._needs[name].reached.wait()
        delay, failures = FIRST_DELAY_SECONDS, 0
        while True:
            await self._wanted.wait()
            if self._stopping:
                return
            try:
                ready_for, code = await self._live_once()
            except Failure as failure:
                if not self.reached.is_set():
                    raise
                ready_for, why = 0.0, failure.sentence
            else:
                why = f"ended with {_spelled(code)}"
                if self.part.once and code == 0:
                    self.state = State.done
                    self.reached.set()
                    return
                failures += 1
                if not self.reached.is_set() and failures >= START_ATTEMPTS and not self._unwanted:
                    raise Failure(self._why_not(code))
            if self._unwanted:
                continue
            delay = FIRST_DELAY_SECONDS if ready_for > HEALTHY_SECONDS else delay
            self.state = State.restarting
            self.restarts += 1
            say(f"{why}; starting it again in {delay:g} s", self.part.name)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _live_once(self) -> tuple[float, int]:
        """One process from its start to its end: how long it was ready, and its exit code."""
        self.state = State.starting
        await asyncio.to_thread(self.part.prepare)
        process = await self._spawn()
        if self._unwanted:  # Asked while it was being started.
            await self._end_process()
        waiting = asyncio.create_task(self._become_ready(process))
        code = await process.wait()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        ready_at = waiting.result() if waiting.done() and not waiting.cancelled() else None
        self.ready.clear()
        self.state = State.held if not self._wanted.is_set() else State.stopped
        # What it started may outlive it: Celery's pool, Ray's agents and job drivers.
        await asyncio.to_thread(self._sweep)
        return (time.monotonic() - ready_at if ready_at is not None else 0.0), code

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = list(self.part.command())
        # A pipe of our own: with asyncio's, `process.wait()` waits for everybody who inherited it.
        output, written = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env=marked(self.part.environment, self._stack_id, self.part.name),
                cwd=self._home.run,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops the parts in order.
                preexec_fn=dies_with_parent(self.part.death_signal),
            )
        except OSError as error:
            os.close(output)
            raise Failure(f"{self.part.name} cannot be started: {command[0]}: {error.strerror}") from None
        finally:
            os.close(written)
        self.process = process
        self._records.add(self.part.name, process.pid)
        copying = asyncio.create_task(self._output.follow(output))
        self._copying.add(copying)
        copying.add_done_callback(self._copying.discard)
        return process

    async def _become_ready(self, process: asyncio.subprocess.Process) -> float | None:
        """Asks until the part is ready; kills one that takes too long, which then counts as a failed start."""
        if self.part.once:
            return None
        give_up_at = time.monotonic() + self.part.ready_seconds
        # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends this loop.
        while self.part.check_ready is not None and process.returncode is None:
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await self.part.check_ready()
                break
            except NOT_READY:
                if time.monotonic() > give_up_at:
                    say(f"was not ready after {self.part.ready_seconds:g} s", self.part.name)
                    process.kill()
                    return None
                await asyncio.sleep(POLL_SECONDS)
        self.state = State.ready
        self.ready.set()
        self.reached.set()
        return time.monotonic()

    def _sweep(self) -> None:
        end_leftovers(self._home, self._stack_id, Records.read(self._home.records_file), self.part.name)

    def _why_not(self, code: int) -> str:
        last = self._output.last[-1] if self._output.last else "it printed nothing"
        return f"{self.part.name} did not start ({_spelled(code)}): {last.strip()} (more in {self._output.path})"

    async def stop(self) -> None:
        """For good: the stop signal, after `stop_seconds` SIGKILL."""
        self._stopping = True
        self._wanted.set()
        await self._end_process()
        self.state = State.stopped if self.state is not State.done else self.state

    async def hold(self) -> None:
        """Stops the part and keeps it down."""
        self._wanted.clear()
        await self._end_process()
        self.state = State.held

    def release(self) -> None:
        self._wanted.set()

    async def _end_process(self) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(self.part.stop_signal)
        try:
            async with asyncio.timeout(self.part.stop_seconds):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await asyncio.to_thread(self._sweep)


def _spelled(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
