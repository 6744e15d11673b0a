"""What a dead rank 0 left in its spool, or a living one could not deliver: the driver sends it, then its last word."""

from __future__ import annotations

import json
import logging
import time

from trainer.api_client import ApiClient, Refused, Unreachable
from trainer.assignment import Assignment
from trainer.contract.reports import MAX_REPORTS_PER_BATCH, Writer
from trainer.spool import read_lines, store_lines

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5


def deliver_leftovers(assignment: Assignment, writer: Writer, deadline: float) -> bool:
    """Delivers what `writer` left on this node or on the storage, until the monotonic `deadline`; stores the rest.

    True if nothing is left undelivered. A spool on another node stays there: what it held after the last checkpoint is
    trained, and reported, again.
    """
    stored, spool = assignment.unsent_path(writer), assignment.spool_path(writer)
    lines = read_lines(stored) or read_lines(spool)
    if not lines:
        spool.unlink(missing_ok=True)
        return True
    api = ApiClient(assignment.api_url, assignment.claim.attempt_id)
    try:
        rest = _send(api, assignment, writer, lines, deadline)
    finally:
        api.close()
    if rest:
        store_lines(stored, rest)
        log.warning("%d reports of %s could not be delivered; they are stored.", len(rest), writer)
    else:
        stored.unlink(missing_ok=True)
    spool.unlink(missing_ok=True)
    return not rest


def _send(api: ApiClient, assignment: Assignment, writer: Writer, lines: list[str], deadline: float) -> list[str]:
    """Returns the lines that the API did not acknowledge. Those it has already cost one repetition and do nothing."""
    while lines:
        try:
            reply = api.report(assignment.claim.attempt_token, writer, lines[:MAX_REPORTS_PER_BATCH])
            if reply.superseded:
                return []
            lines, before = [line for line in lines if _seq(line) > reply.acknowledged], len(lines)
            if len(lines) < before:
                continue
        except (Unreachable, Refused) as error:
            log.warning("Reports of %s wait: %s", writer, error)
        if time.monotonic() + PAUSE_SECONDS > deadline:
            break
        time.sleep(PAUSE_SECONDS)
    return lines


def _seq(line: str) -> int:
    seq: int = json.loads(line)["seq"]
    return seq
