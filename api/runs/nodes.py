"""The machines of the cluster, and draining one: it gets no new runs; those on it finish, or go on elsewhere."""

from __future__ import annotations

from datetime import datetime

import structlog
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.operations_tables import DrainedHost
from api.db.tables import Attempt, ClusterNode, Run
from api.errors import NotAllowed, NotFound
from api.runs.access import Caller
from api.runs.schemas import Answer

log = structlog.get_logger()

MAX_REASON = 200


class DrainRequest(BaseModel):
    """Body of PUT /nodes/{host}/drain."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{}]})

    reason: str = Field(default="", max_length=MAX_REASON)
    """For people: "new driver on Monday"."""
    move: bool = False
    """True: runs on it are paused with a checkpoint and queue again, to go on elsewhere. False: they finish there."""


class Drain(Answer):
    by: str
    """"user:<name>"."""
    reason: str
    moves: bool
    """Whether its runs are moved; else they finish."""
    at: datetime


class ClusterHost(Answer):
    """A machine of the cluster, as the Celery worker last saw it."""

    host: str
    cpus: int
    """CPU slots, here and below taken or free."""
    gpus: int
    alive: bool
    seen_at: datetime | None
    """Null: it is drained and not there."""
    workers: int
    """Of runs on it: slots that are held."""
    runs: list[str]
    """Ids of the runs that hold them, private ones left out."""
    drain: Drain | None
    """Null: it takes runs."""


class HostList(Answer):
    items: list[ClusterHost]
    """By host."""


def list_hosts(session: Session, caller: Caller) -> HostList:
    """Every machine that is known or drained."""
    nodes = session.scalars(select(ClusterNode).order_by(ClusterNode.host, ClusterNode.node_id)).all()
    drains = {row.host: row for row in session.scalars(select(DrainedHost))}
    workers, runs = _held(session, caller, {node.node_id: node.host for node in nodes})
    items = []
    for host in sorted({node.host for node in nodes} | drains.keys()):
        mine = [node for node in nodes if node.host == host]
        drain = drains.get(host)
        items.append(
            ClusterHost(
                host=host,
                cpus=int(sum(node.cpus for node in mine)),
                gpus=int(sum(node.gpus for node in mine)),
                alive=any(node.alive for node in mine),
                seen_at=max((node.seen_at for node in mine), default=None),
                workers=workers.get(host, 0),
                runs=sorted(runs.get(host, set())),
                drain=None
                if drain is None
                else Drain(by=drain.by, reason=drain.reason, moves=drain.moves, at=drain.at),
            )
        )
    return HostList(items=items)


def drain(session: Session, caller: Caller, host: str, wanted: DrainRequest) -> ClusterHost:
    """From the next admission on it gets no runs, until `undrain`; a repeat changes reason and `move`. Does not commit.

    Raises NotAllowed for all but admins, NotFound for a host that is not known.
    """
    _must_be_admin(caller)
    known = session.scalars(select(ClusterNode.host).distinct().order_by(ClusterNode.host)).all()
    if host not in known and session.get(DrainedHost, host) is None:
        raise NotFound(f"there is no node {host[:80]!r}: those known are {', '.join(known[:10]) or 'none yet'}")
    values = {"by": caller.actor, "reason": wanted.reason, "moves": wanted.move, "at": func.now()}
    session.execute(
        insert(DrainedHost).values(host=host, **values).on_conflict_do_update(index_elements=["host"], set_=values)
    )
    log.info("host_drained", host=host, by=caller.actor, reason=wanted.reason, moves=wanted.move)
    after_commit_send(session, "reconcile")
    return _one(session, caller, host)


def undrain(session: Session, caller: Caller, host: str) -> ClusterHost | None:
    """It takes runs again; nothing changes where it does. Null: it is not there any more. Raises NotAllowed."""
    _must_be_admin(caller)
    row = session.get(DrainedHost, host, with_for_update=True)
    if row is not None:
        session.delete(row)
        session.flush()
        log.info("host_undrained", host=host, by=caller.actor)
        after_commit_send(session, "reconcile")
    return next((item for item in list_hosts(session, caller).items if item.host == host), None)


def _held(session: Session, caller: Caller, host_of: dict[str, str]) -> tuple[dict[str, int], dict[str, set[str]]]:
    """By host: workers there, and the runs that the caller may see."""
    rows = session.execute(
        select(Attempt.placement, Attempt.hosts, Run.id, Run.user_id, Run.visibility)
        .join(Run, Run.id == Attempt.run_id)
        .where(Attempt.slots_released_at.is_(None))
    )
    workers: dict[str, int] = {}
    runs: dict[str, set[str]] = {}
    for placement, hosts, run_id, user_id, visibility in rows:
        for node_id, count in placement.items():
            host = (hosts or {}).get(node_id) or host_of.get(node_id)
            if host is None:
                continue
            workers[host] = workers.get(host, 0) + int(count)
            if caller.may_see(user_id=user_id, visibility=visibility):
                runs.setdefault(host, set()).add(run_id)
    return workers, runs


def _one(session: Session, caller: Caller, host: str) -> ClusterHost:
    return next(item for item in list_hosts(session, caller).items if item.host == host)


def _must_be_admin(caller: Caller) -> None:
    if caller.role != "admin":
        raise NotAllowed(f"your role is {caller.role}: only admins drain nodes; ask an admin")
