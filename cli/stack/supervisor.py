"""Runs all parts until Ctrl-C: starts together what can start together, stops in order, answers `basin stack`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from cli.failure import ExitCode, Failure
from cli.stack import control
from cli.stack.home import Home, StackConfig
from cli.stack.output import say
from cli.stack.parts import Part
from cli.stack.processes import Records, end_leftovers
from cli.stack.runner import Runner, State

READY_AGAIN_SECONDS = 300.0


class Supervisor:
    """All runners of one stack."""

    def __init__(self, home: Home, config: StackConfig, parts: list[Part]) -> None:
        self._home = home
        self._config = config
        self._runners: dict[str, Runner] = {}
        self._stop = asyncio.Event()
        self._up = False
        records = Records(home.records_file)
        for part in parts:
            self._runners[part.name] = Runner(part, home, config.stack_id, records, self._runners)

    async def run(self, work_together: Callable[[], Awaitable[None]], on_ready: Callable[[float], None]) -> None:
        """Until SIGINT or SIGTERM. Raises Failure if a part cannot start.

        When every part has started, waits for `work_together`, then tells `on_ready` the seconds it all took.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked_to_stop)
        server = await control.serve(control.socket_path(self._config.short_folder), self._answer)
        began = time.monotonic()
        running = [asyncio.create_task(runner.run(), name=runner.part.name) for runner in self._runners.values()]
        told = asyncio.create_task(self._tell_when_ready(began, work_together, on_ready))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await self._watch(running, stopped)
        finally:
            told.cancel()
            server.close()
            await self._stop_all()
            for task in (*running, stopped):
                task.cancel()
            await asyncio.gather(*running, stopped, told, return_exceptions=True)
            # A part may have been in the middle of its start.
            await asyncio.to_thread(end_leftovers, self._home, self._config.stack_id, [])
            control.socket_path(self._config.short_folder).unlink(missing_ok=True)

    async def _watch(self, running: list[asyncio.Task[None]], stopped: asyncio.Task[Any]) -> None:
        """Returns when asked to stop, raises what ends a runner."""
        pending: set[asyncio.Task[Any]] = {*running, stopped}
        while not stopped.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            say("already stopping; it takes at most half a minute")
        else:
            say("stopping")
            self._stop.set()

    async def _tell_when_ready(
        self, began: float, work_together: Callable[[], Awaitable[None]], on_ready: Callable[[float], None]
    ) -> None:
        for runner in self._runners.values():
            await runner.reached.wait()
        await work_together()
        self._up = True
        on_ready(time.monotonic() - began)

    async def _stop_all(self) -> None:
        ranks = sorted({runner.part.stop_rank for runner in self._runners.values()})
        for rank in ranks:
            ending = [runner.stop() for runner in self._runners.values() if runner.part.stop_rank == rank]
            await asyncio.gather(*ending, return_exceptions=True)

    async def _answer(self, do: str, name: str | None) -> dict[str, Any]:
        """Requests of `basin stack`: status, stop PART, start PART, restart PART."""
        if do == "status":
            return {"up": self._up, "parts": [self._seen(runner) for runner in self._runners.values()]}
        runner = self._known(name)
        if do not in ("stop", "start", "restart"):
            raise Failure(f"unknown request {do!r}: allowed are status, stop, start and restart")
        if do in ("stop", "restart"):
            await runner.hold()
        if do in ("start", "restart"):
            runner.release()
            with suppress(TimeoutError):
                await asyncio.wait_for(runner.ready.wait(), READY_AGAIN_SECONDS)
        return self._seen(runner)

    def _known(self, name: str | None) -> Runner:
        long_lived = [runner.part.name for runner in self._runners.values() if not runner.part.once]
        if name not in long_lived:
            raise Failure(f"no part {name!r}: this stack runs {', '.join(long_lived)}", ExitCode.refused)
        return self._runners[name]

    @staticmethod
    def _seen(runner: Runner) -> dict[str, Any]:
        state: State = runner.state
        return {"part": runner.part.name, "state": state.value, "pid": runner.pid, "restarts": runner.restarts}
