"""A machine that restarts its raylet has a new node id: what an open attempt holds there is not given out again."""

from __future__ import annotations

from sqlalchemy import text

from tests.integration.api.hooked import Hooked
from worker.launch import Launched, _admit
from worker.ray_jobs import Node


def node(node_id: str, *, alive: bool = True) -> Node:
    return Node(node_id=node_id, host="host-a", cpus=2, gpus=0, alive=alive)


def admitted(hooks: Hooked, *nodes: Node) -> list[Launched]:
    with hooks.connections.transaction() as session:
        return _admit(session, nodes, hooks.connections.settings)


def test_its_slots_come_free_with_the_job_and_not_with_the_new_id(hooks: Hooked) -> None:
    first, second = hooks.api.new_run(), hooks.api.new_run()
    assert [each.run_id for each in admitted(hooks, node("before"))] == [first]
    assert hooks.api.run(first)["status"] == "launching"
    restarted = (node("before", alive=False), node("after"))
    assert admitted(hooks, *restarted) == []
    assert admitted(hooks, *restarted) == [], "nor once the old node is forgotten"
    assert hooks.api.count("cluster_nodes", host="host-a") == 1
    assert hooks.api.run(second)["wait_reason"] == "needs 2 CPU slots, 0 free"
    hooks.execute("UPDATE attempts SET slots_released_at = now()")
    assert [each.run_id for each in admitted(hooks, *restarted)] == [second]
    with hooks.api.engine.connect() as connection:
        placed = connection.execute(text("SELECT placement, hosts FROM attempts ORDER BY created_at")).all()
    assert [tuple(row) for row in placed] == [
        ({"before": 2}, {"before": "host-a"}),
        ({"after": 2}, {"after": "host-a"}),
    ]
