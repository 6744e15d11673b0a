"""Live changes for every stream of this process: one subscription to the broker, fanned out in memory.

A broker that is away is waited for; what was missed meanwhile cannot be known, so every stream is told to fetch again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from api.dispatch import CHANNEL

log = structlog.get_logger()

MAX_WAITING = 1000
"""Changes that wait for one slow reader; then it must fetch again."""
LEAST_BACK_OFF_SECONDS = 0.2
MOST_BACK_OFF_SECONDS = 5.0
HEALTH_SECONDS = 10.0
"""How often a silent connection is tried."""

RESYNC: dict[str, Any] = {"kind": "resync", "data": {}}
"""Sent where changes may have been missed."""


@dataclass(eq=False)
class Subscription:
    wants: Callable[[dict[str, Any]], bool]
    waiting: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))

    def put(self, change: dict[str, Any]) -> None:
        if change is not RESYNC and not self.wants(change):
            return
        if self.waiting.full():
            while not self.waiting.empty():
                self.waiting.get_nowait()
            change = RESYNC
        self.waiting.put_nowait(change)


class Feed:
    """One per process; lives on its event loop."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._subscriptions: set[Subscription] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._follow(), name="live-feed")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def subscription(self, wants: Callable[[dict[str, Any]], bool]) -> AsyncIterator[Subscription]:
        """`wants` sees a change as `api.db.engine.Change` in JSON."""
        subscription = Subscription(wants)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def _follow(self) -> None:
        back_off = LEAST_BACK_OFF_SECONDS
        first = True
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
                        message = await channel.get_message(timeout=HEALTH_SECONDS)
                        if message is None:
                            continue
                        if message["type"] == "subscribe":
                            log.info("live_feed_subscribed")
                            if not first:
                                self._put(RESYNC)
                            first, back_off = False, LEAST_BACK_OFF_SECONDS
                        elif message["type"] == "message":
                            self._put(json.loads(message["data"]))
            except (RedisError, OSError, ValueError) as error:
                log.warning("live_feed_lost", error=str(error), again_in_seconds=back_off)
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, MOST_BACK_OFF_SECONDS)

    def _put(self, change: dict[str, Any]) -> None:
        for subscription in self._subscriptions:
            subscription.put(change)
