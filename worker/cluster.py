"""The cluster as last seen, and signs of life: rows that spare the API and admission a question to Ray.

`cluster_nodes` holds what counts as known: every living node, and one that is away for up to a day, so that an outage
overnight does not make the runs that wait for it impossible.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from sqlalchemy import delete, func, not_, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from api.db.operations_tables import DrainedHost
from api.db.tables import ClusterNode, Heartbeat
from worker.admission import KnownNode, Slots
from worker.ray_jobs import Node

KNOWN_FOR = timedelta(days=1)


def record_nodes(session: Session, nodes: Sequence[Node]) -> None:
    """Makes the table show what Ray just said of the nodes that train; does not commit.

    A head that does not train is left out: it lives on while the machines that do are away, and what never fits it is
    not impossible.
    """
    # Several processes do this at once, each to several rows: one after the other, or they would wait in a circle.
    session.execute(text("LOCK TABLE cluster_nodes IN SHARE ROW EXCLUSIVE MODE"))
    alive = sorted((node for node in nodes if node.alive and node.trains), key=lambda node: node.node_id)
    for node in alive:
        row = {"host": node.host[:255], "cpus": node.cpus, "gpus": node.gpus, "alive": True, "seen_at": func.now()}
        session.execute(
            insert(ClusterNode)
            .values(node_id=node.node_id, **row)
            .on_conflict_do_update(index_elements=[ClusterNode.node_id], set_=row)
        )
    session.execute(
        update(ClusterNode)
        .where(ClusterNode.alive, ClusterNode.node_id.not_in([node.node_id for node in alive]))
        .values(alive=False)
    )
    back = aliased(ClusterNode)
    # A machine that comes back has a new node id: the old row would count it twice. Attempts keep their own hosts.
    came_back = select(back.node_id).where(back.alive, back.host == ClusterNode.host).correlate(ClusterNode).exists()
    session.execute(
        delete(ClusterNode).where(not_(ClusterNode.alive), or_(ClusterNode.seen_at < func.now() - KNOWN_FOR, came_back))
    )


def known_nodes(session: Session) -> list[KnownNode]:
    drained = set(session.scalars(select(DrainedHost.host)))
    return [
        KnownNode(
            node_id=row.node_id,
            host=row.host,
            slots=Slots(cpus=int(row.cpus), gpus=int(row.gpus)),
            alive=row.alive,
            drained=row.host in drained,
        )
        for row in session.scalars(select(ClusterNode).order_by(ClusterNode.node_id))
    ]


def hosts_of(session: Session, node_ids: Collection[str]) -> dict[str, str]:
    """Node id -> host, of those that are known."""
    found = select(ClusterNode.node_id, ClusterNode.host).where(ClusterNode.node_id.in_(node_ids))
    return {row.node_id: row.host for row in session.execute(found)}


def beat(session: Session, part: str) -> None:
    """Notes that `part` works; does not commit."""
    session.execute(
        insert(Heartbeat)
        .values(part=part, at=func.now(), detail=None)
        .on_conflict_do_update(index_elements=[Heartbeat.part], set_={"at": func.now(), "detail": None})
    )


def miss(session: Session, part: str, detail: str) -> None:
    """Notes why `part` does not work; its last sign of life stays. Does not commit."""
    session.execute(update(Heartbeat).where(Heartbeat.part == part).values(detail=detail))
