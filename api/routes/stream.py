"""GET /stream: one stream of live changes per browser (server-sent events)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from api.db.changes import View
from api.errors import Invalid
from api.routes.dependencies import DetachedCallerDep, ServicesDep
from api.routes.following import follow
from api.routes.problems import PROBLEMS
from trainer.contract.problems import SpecProblem

router = APIRouter(tags=["live"])

EVENTS = "text/event-stream"
MAX_TOPICS = 100
TOPIC = re.compile(r"runs|run:[a-z0-9]{1,16}")


@dataclass(frozen=True)
class Topics:
    """`runs`: the summary of every run; `run:<id>`: everything about one."""

    all_runs: bool
    run_ids: frozenset[str]


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


async def followed(
    services: ServicesDep,
    caller: DetachedCallerDep,
    topics: Annotated[Topics, Depends(parsed_topics)],
    last_event_id: Annotated[
        str | None, Query(description="Id of the last event received, for a reader that cannot set the header.")
    ] = None,
    last_event_id_header: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The same; an EventSource sends it. Counts before the query."),
    ] = None,
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The events for this reader, closed when the response has ended. A response whose reader leaves stops asking, but
    closes nothing; the collector would close the generators inside one another in any order."""
    view = View(
        all_runs=topics.all_runs, run_ids=topics.run_ids, user_id=caller.user_id, sees_all=caller.role == "admin"
    )
    async with aclosing(follow(services.feed, view, last_event_id_header or last_event_id)) as events:
        yield events


@router.get(
    "/stream",
    summary="Follow changes",
    response_class=StreamingResponse,
    responses={200: {"description": "Events.", "content": {EVENTS: {"schema": {"type": "string"}}}}, **PROBLEMS},
)
def stream(events: Annotated[AsyncIterator[bytes], Depends(followed)]) -> StreamingResponse:
    """Server-sent events: `run` (RunSummary), `metrics` (MetricsChange) and `event` (TimelineEvent), in the order of
    their commits for each run, each once; `hello` at the beginning; `resync` (something was missed: fetch again);
    `position` (nothing but a newer id). Every event has an id.

    With the last id a reader received, in `Last-Event-ID` or `last_event_id`, the stream first tells what came since,
    for up to an hour back; `hello` then says `"replays": true`, and nothing need be fetched. Where that is not possible
    (too old an id, or of another database) `hello` says false and `resync` follows. Without an id: open the stream
    first and fetch then, so that nothing falls in between. A stream ends after `life_seconds`, or when the database
    fails; an EventSource connects again by itself.
    """
    # Not FastAPI's EventSourceResponse: when a reader leaves in a burst, that ends with an error in the log (0.165).
    return StreamingResponse(
        events, media_type=EVENTS, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    )
