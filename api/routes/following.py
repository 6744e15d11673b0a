"""One live stream: what came since the reader's position, from the table, then what comes, from the feed.

Where the two meet nothing is lost and nothing told twice: the feed says from which position on it tells everything, the
table gives what lies before, and whatever is not behind the last one told is passed over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import SQLAlchemyError

from api.db.changes import Position, StoredChange, View
from api.routes.feed import Feed, Restart, Subscription

log = structlog.get_logger()

STREAM_LIFE_SECONDS = 600
RECONNECT_MILLISECONDS = 1000
QUIET_SECONDS = 15.0
"""After so long without an event a reader is told a newer position, which is not so soon deleted, or sent a comment:
proxies cut silent connections (the HTML standard recommends 15 s)."""


async def follow(feed: Feed, view: View, cursor: str | None) -> AsyncGenerator[bytes]:
    """The events of a stream as they are sent, for ten minutes or until the database fails.

    `cursor` is the last id the reader has.
    """
    ends_at = asyncio.get_running_loop().time() + STREAM_LIFE_SECONDS
    told: Position | None = None
    try:
        # Once, but for a reader so slow that its queue overflowed: it takes up the rest from the table.
        while asyncio.get_running_loop().time() < ends_at:
            async with feed.subscription(view) as subscription:
                if told is None:
                    told, replays = await _beginning(feed, subscription, cursor)
                    yield _hello(told, replays=replays)
                    if cursor and not replays:
                        yield _resync(told)
                async with aclosing(_events(feed, subscription, told, ends_at)) as events:
                    async for event, position in events:
                        told = position
                        yield event
    except SQLAlchemyError as error:  # The reader comes back with its position.
        log.warning("stream_ended", error=str(error).splitlines()[0])


async def _beginning(feed: Feed, subscription: Subscription, cursor: str | None) -> tuple[Position, bool]:
    """Where the stream starts, and whether that is where its reader stopped: then nothing was missed."""
    after = Position.parsed(cursor) if cursor else None
    if after is None:
        return subscription.start, False
    nothing = await feed.history(subscription.view, after, after)
    return (after, True) if nothing.can_continue(after) else (subscription.start, False)


async def _events(
    feed: Feed, subscription: Subscription, told: Position, ends_at: float
) -> AsyncGenerator[tuple[bytes, Position]]:
    """Each event with the position after it; ends when the time is over or the queue has overflowed."""
    clock = asyncio.get_running_loop().time
    while told < subscription.start:
        page = await feed.history(subscription.view, told, subscription.start)
        if not page.can_continue(told):
            told = subscription.start
            yield _resync(told), told
            break
        for change in page.changes:
            told = change.position
            yield _event(change), told
        if not page.is_full:
            told = subscription.start
            yield _reached(told), told
    while (left := ends_at - clock()) > 0:
        try:
            async with asyncio.timeout(min(left, QUIET_SECONDS)):
                arrived = await subscription.next()
        except TimeoutError:
            if told < subscription.reached and subscription.waiting.empty():
                told = subscription.reached
                yield _reached(told), told
            else:
                yield KEEPALIVE_COMMENT, told
            continue
        if arrived is None:
            return
        if isinstance(arrived, Restart):
            told = arrived.position
            yield _resync(told), told
        elif told < arrived.position:
            told = arrived.position
            yield _event(arrived), told


def _event(change: StoredChange) -> bytes:
    return format_sse_event(event=change.kind, data_str=change.data, id=str(change.position))


def _hello(position: Position, *, replays: bool) -> bytes:
    data = json.dumps({"life_seconds": STREAM_LIFE_SECONDS, "replays": replays})
    return format_sse_event(event="hello", data_str=data, id=str(position), retry=RECONNECT_MILLISECONDS)


def _resync(position: Position) -> bytes:
    return format_sse_event(event="resync", data_str="{}", id=str(position))


def _reached(position: Position) -> bytes:
    """Tells nothing but how far the reader is, so that it asks for less when it comes back."""
    return format_sse_event(event="position", data_str="{}", id=str(position))
