"""Live changes for every stream of this process: one reader of the table of changes, fanned out in memory.

A word on the broker wakes the reader; without one it looks every half second while somebody listens, so a broker that
is away costs latency and nothing else. Nothing is held while streams wait, neither a session nor a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import redis.asyncio
import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from api.db.changes import LARGEST, Batch, Position, StoredChange, View, adopt, read_covered, read_on, trim
from api.dispatch import CHANNEL

log = structlog.get_logger()

MAX_WAITING = 1000
"""Changes that wait for one slow reader; then it reads from the table, at its own pace."""
BATCH = 500
POLL_SECONDS = 0.5
"""Between two looks that nobody asked for, while somebody listens."""
SETTLE_SECONDS = (0.02, 0.25)
"""Shortest and longest wait for a transaction that holds committed changes back; doubled from look to look."""
TRIM_EVERY_SECONDS = 60.0
LEAST_BACK_OFF_SECONDS = 0.2
MOST_BACK_OFF_SECONDS = 5.0
HEALTH_SECONDS = 10.0
"""How often a silent connection to the broker is tried."""
HISTORY_THREADS = 4

END = Position(LARGEST, 0)
"""Behind every change."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Restart:
    """The database is another one than before: what was told may be untrue, what comes begins at `position`."""

    position: Position


@dataclass(eq=False)
class Subscription:
    """What one stream still has to tell: every change that its view covers, from `start` on, in order."""

    view: View
    start: Position
    reached: Position
    """Every covered change up to here was told or waits below."""
    waiting: asyncio.Queue[StoredChange | Restart] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    overflowed: bool = False
    """True: what came after the last that waits was left out, and is to be read from the table."""

    def put(self, change: StoredChange | Restart) -> None:
        if self.overflowed:
            return
        try:
            self.waiting.put_nowait(change)
        except asyncio.QueueFull:
            self.overflowed = True

    async def next(self) -> StoredChange | Restart | None:
        """Waits for the next one; null once everything was told and some were left out."""
        if self.overflowed and self.waiting.empty():
            return None
        return await self.waiting.get()


class Feed:
    """One per process; lives on its event loop. Only `_read_forever` moves the position."""

    def __init__(self, engine: Engine, broker_url: str) -> None:
        self._engine = engine
        self._broker_url = broker_url
        self._subscriptions: set[Subscription] = set()
        self._arriving: list[tuple[View, asyncio.Future[Subscription]]] = []
        self._position = Position(0, 0)
        self._is_ours = False
        """Whether the table was checked to be of this database, since we last could not reach it."""
        self._wake = asyncio.Event()
        self._reader = ThreadPoolExecutor(1, "live-reader")
        self._history = ThreadPoolExecutor(HISTORY_THREADS, "live-history")

    @property
    def clients(self) -> int:
        """Streams that are being followed."""
        return len(self._subscriptions)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._read_forever(), name="live-reader"),
            asyncio.create_task(self._hear_forever(), name="live-channel"),
            asyncio.create_task(self._trim_forever(), name="live-trim"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            self._reader.shutdown()
            self._history.shutdown()

    @asynccontextmanager
    async def subscription(self, view: View) -> AsyncIterator[Subscription]:
        """Attaches between two readings, so that no change is left out and none comes twice; waits for a database."""
        arrival: asyncio.Future[Subscription] = asyncio.get_running_loop().create_future()
        self._arriving.append((view, arrival))
        self._wake.set()
        try:
            yield await arrival
        finally:
            self._arriving = [pair for pair in self._arriving if pair[1] is not arrival]
            if arrival.done() and not arrival.cancelled():
                self._subscriptions.discard(arrival.result())

    async def history(self, view: View, after: Position, until: Position) -> Batch:
        """The next covered changes behind `after` up to `until`, from the table. Raises SQLAlchemyError."""
        return await self._in(self._history, lambda: read_covered(self._engine, view, after, until, most=BATCH))

    async def _read_forever(self) -> None:
        back_off, settle = LEAST_BACK_OFF_SECONDS, SETTLE_SECONDS[0]
        while True:
            try:
                batch = await self._read_once()
            except SQLAlchemyError as error:
                log.warning("live_changes_not_read", error=str(error).splitlines()[0], again_in_seconds=back_off)
                self._is_ours = False
                await asyncio.sleep(back_off)
                back_off = min(2 * back_off, MOST_BACK_OFF_SECONDS)
                continue
            back_off = LEAST_BACK_OFF_SECONDS
            if batch is not None and batch.is_full:
                continue
            if batch is not None and batch.unsettled:
                settle = settle if await self._woken(within=settle) else min(2 * settle, SETTLE_SECONDS[1])
                continue
            settle = SETTLE_SECONDS[0]
            await self._woken(within=POLL_SECONDS if self._subscriptions else None)

    async def _woken(self, *, within: float | None) -> bool:
        try:
            await asyncio.wait_for(self._wake.wait(), within)
        except TimeoutError:
            return False
        return True

    async def _read_once(self) -> Batch | None:
        """Reads on for those who listen, and lets in those who arrived; null if there is nobody."""
        self._wake.clear()
        if not self._subscriptions and not self._arriving:
            return None
        if not self._is_ours:
            await self._in(self._reader, lambda: adopt(self._engine))
            self._is_ours = True
        # Who arrives at an empty feed is told from now on; what it missed, it takes from the table.
        after = self._position if self._subscriptions else END
        batch = await self._in(self._reader, lambda: read_on(self._engine, after, most=BATCH))
        # Nothing waits below, so that the position, the queues and who listens always fit together.
        if after is END:
            self._position = batch.horizon
        elif not batch.can_continue(self._position):
            self._position = batch.horizon
            self._tell(Restart(self._position))
        else:
            for change in batch.changes:
                self._tell(change)
        for subscription in self._subscriptions:
            subscription.reached = self._position
        self._let_in()
        return batch

    def _tell(self, change: StoredChange | Restart) -> None:
        self._position = change.position
        for subscription in self._subscriptions:
            if isinstance(change, Restart) or subscription.view.covers(change):
                subscription.put(change)

    def _let_in(self) -> None:
        for view, arrival in self._arriving:
            if arrival.cancelled():
                continue
            subscription = Subscription(view, start=self._position, reached=self._position)
            self._subscriptions.add(subscription)
            arrival.set_result(subscription)
        self._arriving = []

    async def _hear_forever(self) -> None:
        """Wakes the reader for every word on the channel, and once more whenever it may have missed one."""
        back_off = LEAST_BACK_OFF_SECONDS
        while True:
            try:
                async with (
                    redis.asyncio.Redis.from_url(
                        self._broker_url, socket_connect_timeout=2, health_check_interval=HEALTH_SECONDS
                    ) as client,
                    client.pubsub(ignore_subscribe_messages=False) as channel,
                ):
                    await channel.subscribe(CHANNEL)
                    while True:
                        if await channel.get_message(timeout=HEALTH_SECONDS) is not None:
                            back_off = LEAST_BACK_OFF_SECONDS
                            self._wake.set()
            except (RedisError, OSError) as error:
                log.warning("live_channel_lost", error=str(error), again_in_seconds=back_off)
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, MOST_BACK_OFF_SECONDS)

    async def _trim_forever(self) -> None:
        while True:
            try:
                if deleted := await self._in(self._history, lambda: trim(self._engine)):
                    log.info("live_changes_trimmed", deleted=deleted)
            except SQLAlchemyError as error:
                log.warning("live_changes_not_trimmed", error=str(error).splitlines()[0])
            await asyncio.sleep(TRIM_EVERY_SECONDS)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
