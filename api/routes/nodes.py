"""The machines of the cluster: who is there, and who takes no more runs."""

from __future__ import annotations

from fastapi import APIRouter

from api.routes.dependencies import CallerDep, SessionDep
from api.routes.problems import PROBLEMS
from api.runs.nodes import ClusterHost, DrainRequest, HostList, drain, list_hosts, undrain

router = APIRouter(prefix="/nodes", tags=["nodes"], responses=PROBLEMS)


@router.get("", summary="List the machines of the cluster")
def get_nodes(session: SessionDep, caller: CallerDep) -> HostList:
    """With what is held on each, and whether it is drained."""
    return list_hosts(session, caller)


@router.put("/{host}/drain", summary="Give a machine no new runs")
def drain_node(host: str, body: DrainRequest, session: SessionDep, caller: CallerDep) -> ClusterHost:
    """By admins. Runs on it finish, or with `move` are paused with a checkpoint and go on elsewhere."""
    return drain(session, caller, host, body)


@router.delete("/{host}/drain", summary="Let a machine take runs again")
def undrain_node(host: str, session: SessionDep, caller: CallerDep) -> ClusterHost | None:
    """By admins. Null where it is not known any more."""
    return undrain(session, caller, host)
