"""Moves runs off machines that are drained with `--move`: each saves, gives its slots back, queues again."""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.operations_tables import DrainedHost
from api.db.tables import Attempt, Run
from api.runs.pause import request_pause
from api.runs.status import RunStatus
from worker.cluster import hosts_of

log = structlog.get_logger()


def move_away(session: Session) -> list[str]:
    """Tells the trainers of running runs there to save and end; does not commit. Returns the runs' ids.

    Also those that may not be preempted: a machine that is to be taken down does not wait for them. One that is still
    launching is seen to by a later pass, once it trains and has something to save.
    """
    drains = {row.host: row for row in session.scalars(select(DrainedHost).where(DrainedHost.moves))}
    if not drains:
        return []
    open_attempts = session.execute(
        select(Attempt.run_id, Attempt.placement, Attempt.hosts)
        .join(Run, Run.id == Attempt.run_id)
        .where(Attempt.slots_released_at.is_(None), Attempt.ended_at.is_(None), Run.status == RunStatus.running)
        .order_by(Attempt.run_id)
    ).all()
    moved = []
    for run_id, placement, hosts in open_attempts:
        there = {**hosts_of(session, placement.keys()), **(hosts or {})}
        host = next((there[node_id] for node_id in placement if there.get(node_id) in drains), None)
        if host is None:
            continue
        run = session.get_one(Run, run_id, with_for_update={"key_share": True}, populate_existing=True)
        text = f"Moved off {host}, which is drained; the trainer saves a checkpoint, then the run waits again."
        if run.status == RunStatus.running and request_pause(
            session, run, actor=drains[host].by, preempted=True, text=text
        ):
            moved.append(run_id)
    if moved:
        log.info("moved_off_drained_hosts", runs=moved, hosts=sorted(drains))
    return moved
