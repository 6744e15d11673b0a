"""What the cluster can ever give, from what the worker last saw of it: the rest is refused at submit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.tables import ClusterNode
from trainer.contract.problems import SpecProblem
from trainer.contract.spec import Resources


@dataclass(frozen=True, kw_only=True)
class Node:
    host: str
    cpus: float
    gpus: float


def known_nodes(session: Session) -> list[Node]:
    """Nodes that the worker counts as known, away ones included; empty: nothing is known, so nothing is refused."""
    rows = session.scalars(select(ClusterNode).order_by(ClusterNode.node_id))
    return [Node(host=row.host, cpus=row.cpus, gpus=row.gpus) for row in rows]


def never_fits(resources: Resources, nodes: Sequence[Node]) -> SpecProblem | None:
    """Why `nodes` can never give what is asked for, even empty; null if they can, or none is known."""
    if not nodes:
        return None
    gpu_slots = sum(int(node.gpus) for node in nodes)
    cpu_slots = sum(int(node.cpus) for node in nodes)
    workers = resources.workers
    if resources.gpus_per_worker and not gpu_slots:
        return SpecProblem(
            path="spec.resources.gpus_per_worker",
            value=str(resources.gpus_per_worker),
            allowed="this cluster has no GPUs",
            remedy="Set 0",
        )
    slots, kind = (gpu_slots, "GPU") if resources.gpus_per_worker else (cpu_slots, "CPU slot")
    if workers <= slots:
        return None
    return SpecProblem(
        path="spec.resources.workers",
        value=str(workers),
        allowed=f"this cluster has {slots} {kind}{'' if slots == 1 else 's'}, one for each worker",
        remedy=f"Set {slots} or fewer, or add nodes" if slots else "Add nodes",
    )
