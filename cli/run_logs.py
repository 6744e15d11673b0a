"""`basin run logs`: the last lines of a run's log, and with -f what comes after, to the run's end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from cli import completion
from cli.answers import Unreachable
from cli.client import Client
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, RunId, Token, Url, print_json
from cli.views import LogTail, RunView
from cli.watching import PATIENCE_SECONDS

POLL_SECONDS = 1.0
MOST_LINES = 5000
PREFERRED = "rank-0"
"""The log to follow unless another is named: what the training itself says."""


def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            help="driver, rank-0, rank-1, ... or ray. Default: rank-0.", autocompletion=completion.log_sources
        ),
    ] = None,
    lines: Annotated[int, typer.Option(min=1, max=MOST_LINES, help="How many of the last lines.")] = 200,
    attempt: Annotated[int | None, typer.Option(min=1, help="Number of the attempt. Default: the newest.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Print a run's log. With --json a document, with -f as well one for each piece, a line each."""
    with connect(url, token) as client:
        if follow:
            for tail in pieces(client, run_id, source=source, lines=lines, attempt=attempt):
                print_json(tail, indent=None) if as_json else _print(tail)
            return
        tail = _last_lines(client, client.run(run_id), source=source, lines=lines, attempt=attempt)
        print_json(tail) if as_json else _print(tail)


def _print(tail: LogTail) -> None:
    for line in tail.lines:
        typer.echo(line)


def _last_lines(client: Client, run: RunView, *, source: str | None, lines: int, attempt: int | None) -> LogTail:
    number = attempt or run.attempt
    if number is None:
        raise _no_log(run)
    return client.log(run.id, number, source=source, lines=lines)


def _no_log(run: RunView) -> Failure:
    why = run.wait_reason or run.detail or "no attempt was started"
    return Failure(f"run {run.id} is {run.status} and has no log yet: {why}", ExitCode.refused)


def pieces(
    client: Client,
    run_id: str,
    *,
    source: str | None,
    lines: int,
    attempt: int | None,
    poll_seconds: float = POLL_SECONDS,
    tell: Callable[[str], None] = lambda sentence: typer.echo(sentence, err=True),
) -> Iterator[LogTail]:
    """The last lines, then whatever is written, until the run (or the attempt asked for) is over.

    A new attempt is followed in its turn. The API may be away for ten minutes; then Unreachable is raised.
    """
    place = Place(attempt, source)
    answered_at = time.monotonic()
    quiet_at_end = False
    while True:
        more = over = False
        try:
            # The run first: what it wrote before it was over is in the log by then.
            run = client.run(run_id)
            over = run.is_over or (attempt is not None and run.attempt is not None and run.attempt > attempt)
            if over and (attempt or run.attempt) is None:
                raise _no_log(run)
            newest = attempt or run.attempt
            if newest != place.attempt:
                if place.attempt is not None:
                    tell(f"--- attempt {newest} ---")
                place = Place(newest, source)
            tail = _piece(client, run_id, place, lines) if place.attempt is not None else None
            answered_at = time.monotonic()
            if tail is not None:
                more = bool(tail.lines)
                place = replace(place, source=tail.source or source, offset=tail.end if tail.source else None)
                if more:
                    yield tail
                if source is None and PREFERRED in tail.sources and tail.source != PREFERRED:
                    # The driver's log is there before the first rank's.
                    tell(f"--- {PREFERRED} ---")
                    place, more = Place(place.attempt, PREFERRED), True
        except Unreachable:
            if time.monotonic() - answered_at > PATIENCE_SECONDS:
                raise
            over = False
        if more:
            continue
        # The driver still says good-bye after it has reported the end.
        if over and quiet_at_end:
            return
        quiet_at_end = over
        time.sleep(poll_seconds)


@dataclass(frozen=True)
class Place:
    """Where reading goes on: the attempt, its log (None: the API chooses), the byte offset (None: the last lines)."""

    attempt: int | None
    source: str | None
    offset: int | None = None


def _piece(client: Client, run_id: str, place: Place, lines: int) -> LogTail | None:
    """None while the log that was asked for is not there yet."""
    assert place.attempt is not None
    wanted = lines if place.offset is None else MOST_LINES
    try:
        return client.log(run_id, place.attempt, source=place.source, lines=wanted, after=place.offset)
    except Unreachable:
        raise
    except Failure as failure:
        if failure.exit_code is ExitCode.refused and "has no log" in failure.sentence:
            return None
        raise
