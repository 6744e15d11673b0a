"""GET /stream: one stream of live changes per browser (server-sent events). The only async route."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.errors import Invalid
from api.routes.dependencies import DetachedCallerDep, ServicesDep
from api.routes.problems import PROBLEMS
from api.runs.access import Caller
from trainer.contract.problems import SpecProblem

router = APIRouter(tags=["live"])

STREAM_LIFE_SECONDS = 600
RECONNECT_MILLISECONDS = 1000
MAX_TOPICS = 100
TOPIC = re.compile(r"runs|run:[a-z0-9]{1,16}")


@dataclass(frozen=True)
class Topics:
    """`runs`: the summary of every run; `run:<id>`: everything about one."""

    all_runs: bool
    run_ids: frozenset[str]

    def cover(self, change: dict[str, Any]) -> bool:
        return change["run_id"] in self.run_ids or (self.all_runs and change["kind"] == "run")


def parsed_topics(
    topics: Annotated[
        str,
        Query(description="Comma-separated: `runs`, `run:<id>`.", examples=["runs,run:3f9c2a71b04d"], max_length=4096),
    ] = "runs",
) -> Topics:
    words = {word.strip() for word in topics.split(",") if word.strip()}
    bad = sorted(word for word in words if not TOPIC.fullmatch(word))
    if bad or not words or len(words) > MAX_TOPICS:
        problem = SpecProblem(
            path="query.topics",
            value=(bad[0] if bad else topics)[:120],
            allowed=f"must be 1 to {MAX_TOPICS} of `runs` and `run:<id>`, with commas",
            remedy="Mend `topics`",
        )
        raise Invalid.because([problem])
    return Topics("runs" in words, frozenset(word[4:] for word in words if word.startswith("run:")))


@router.get("/stream", summary="Follow changes", response_class=EventSourceResponse, responses=PROBLEMS)
async def stream(
    services: ServicesDep, caller: DetachedCallerDep, topics: Annotated[Topics, Depends(parsed_topics)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `run` (RunSummary), `metrics` (MetricsChange), `event` (TimelineEvent), `resync`
    (something may have been missed: fetch again), and `hello` at the beginning.

    Open the stream first and fetch then, so that nothing falls in between. A stream ends after ten minutes; an
    EventSource connects again by itself.
    """

    def wants(change: dict[str, Any]) -> bool:
        return topics.cover(change) and _may_see(caller, change)

    loop = asyncio.get_running_loop()
    ends_at = loop.time() + STREAM_LIFE_SECONDS
    async with services.feed.subscription(wants) as subscription:
        yield ServerSentEvent(event="hello", data={"life_seconds": STREAM_LIFE_SECONDS}, retry=RECONNECT_MILLISECONDS)
        while (left := ends_at - loop.time()) > 0:
            try:
                change = await asyncio.wait_for(subscription.waiting.get(), left)
            except TimeoutError:
                return
            yield ServerSentEvent(event=change["kind"], data=change["data"])


def _may_see(caller: Caller, change: dict[str, Any]) -> bool:
    return caller.may_see(user_id=change["user_id"], visibility=change["visibility"])
