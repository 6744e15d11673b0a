"""Draining over the API: who may, what is shown, what outlives a restart, and what the Celery worker does about it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.app import create_app
from tests.integration.api.hooked import Hooked
from tests.integration.api.stack import person
from worker.cluster import known_nodes, record_nodes
from worker.draining import move_away
from worker.ray_jobs import Node


@pytest.fixture
def cluster(hooks: Hooked) -> Hooked:
    """host-a and host-b, as Ray offers them."""
    see(hooks, "node-a", "node-b")
    return hooks


def see(hooks: Hooked, *node_ids: str) -> None:
    nodes = [
        Node(node_id=node_id, host=f"host-{node_id.split('-')[1]}", cpus=4, gpus=0, alive=True) for node_id in node_ids
    ]
    with hooks.connections.transaction() as session:
        record_nodes(session, nodes)


def ask(hooks: Hooked, method: str, path: str, who: str = "ada", **body: Any) -> httpx.Response:
    options = {"json": body} if method == "PUT" else {}
    return hooks.api.http.request(method, f"/api/v1/nodes{path}", headers=person(who), **options)


def place(hooks: Hooked, run_id: str, **placement: int) -> None:
    hooks.execute(
        "UPDATE attempts SET placement = CAST(:p AS jsonb) WHERE run_id = :id",
        p=str({key.replace("_", "-"): count for key, count in placement.items()}).replace("'", '"'),
        id=run_id,
    )


class TestHead:
    def test_one_that_does_not_train_is_no_node_though_it_outlives_the_others(self, hooks: Hooked) -> None:
        """A run that only fits the machine that is away would never fit a cluster of the head alone."""
        head = Node(node_id="node-h", host="host-a", cpus=0, gpus=0, alive=True, trains=False)
        worker = Node(node_id="node-a", host="host-a", cpus=4, gpus=0, alive=True)
        with hooks.connections.transaction() as session:
            record_nodes(session, [head, worker])
            record_nodes(session, [head])
            assert [(node.node_id, node.alive) for node in known_nodes(session)] == [("node-a", False)]


class TestDrain:
    def test_a_drained_host_is_shown_with_who_and_why_and_admission_knows_it(self, cluster: Hooked) -> None:
        answer = ask(cluster, "PUT", "/host-a/drain", reason="new driver")
        assert answer.status_code == 200, answer.text
        drain = answer.json()["drain"]
        assert (drain["by"], drain["reason"], drain["moves"]) == ("user:ada", "new driver", False)
        shown = {item["host"]: item["drain"] for item in ask(cluster, "GET", "", "vic").json()["items"]}
        assert (shown["host-a"]["reason"], shown["host-b"]) == ("new driver", None)
        with Session(cluster.api.engine) as session:
            assert {node.host: node.drained for node in known_nodes(session)} == {"host-a": True, "host-b": False}

    def test_a_machine_that_comes_back_under_a_new_id_is_drained_still(self, cluster: Hooked) -> None:
        ask(cluster, "PUT", "/host-a/drain")
        see(cluster, "node-b")
        see(cluster, "new-a", "node-b")
        with Session(cluster.api.engine) as session:
            assert {node.node_id: node.drained for node in known_nodes(session)} == {"new-a": True, "node-b": False}

    def test_it_is_kept_by_the_database_and_not_by_the_process(self, cluster: Hooked) -> None:
        ask(cluster, "PUT", "/host-a/drain")
        create_app(cluster.api.settings)  # As another start would; the row is what counts.
        cluster.execute("DELETE FROM cluster_nodes")
        [gone] = ask(cluster, "GET", "").json()["items"]
        assert (gone["host"], gone["alive"], gone["seen_at"]) == ("host-a", False, None)
        assert ask(cluster, "DELETE", "/host-a/drain").json() is None
        assert ask(cluster, "GET", "").json()["items"] == []

    def test_undrain_lets_it_take_runs_again_and_may_be_repeated(self, cluster: Hooked) -> None:
        ask(cluster, "PUT", "/host-a/drain")
        for _ in range(2):
            answer = ask(cluster, "DELETE", "/host-a/drain")
            assert (answer.status_code, answer.json()["drain"]) == (200, None)

    def test_only_admins_drain_and_only_what_is_known(self, cluster: Hooked) -> None:
        for method in ("PUT", "DELETE"):
            assert ask(cluster, method, "/host-a/drain", "max").status_code == 403
        answer = ask(cluster, "PUT", "/host-x/drain")
        assert answer.status_code == 404
        assert "those known are host-a, host-b" in answer.json()["detail"]

    def test_runs_on_it_are_told_but_not_private_ones_of_others(self, cluster: Hooked) -> None:
        open_run, secret = cluster.api.new_run(), cluster.api.new_run("mia", visibility="private")
        for run_id in (open_run, secret):
            cluster.api.start(run_id)
            place(cluster, run_id, node_a=2)
        [host_a, _] = ask(cluster, "GET", "", "max").json()["items"]
        assert (host_a["workers"], host_a["runs"]) == (4, [open_run])


class TestMove:
    def test_runs_on_it_save_and_queue_again_and_those_elsewhere_go_on(self, cluster: Hooked) -> None:
        there, here = cluster.api.new_run(preemptible=False), cluster.api.new_run()
        for run_id, node in ((there, "node_a"), (here, "node_b")):
            cluster.api.start(run_id)
            place(cluster, run_id, **{node: 2})
        ask(cluster, "PUT", "/host-a/drain", move=True)
        with cluster.connections.transaction() as session:
            assert move_away(session) == [there]
        with cluster.connections.transaction() as session:
            assert move_away(session) == []
        assert (cluster.api.run(there)["status"], cluster.api.run(here)["status"]) == ("pausing", "running")
        with cluster.api.engine.connect() as connection:
            requeues, told = connection.execute(
                text(
                    "SELECT requeues, (SELECT e.text FROM events e WHERE e.run_id = runs.id ORDER BY e.id DESC LIMIT 1)"
                    " FROM runs WHERE id = :id"
                ),
                {"id": there},
            ).one()
        assert requeues
        assert told == "Moved off host-a, which is drained; the trainer saves a checkpoint, then the run waits again."

    def test_without_move_they_finish(self, cluster: Hooked) -> None:
        run_id = cluster.api.new_run()
        cluster.api.start(run_id)
        place(cluster, run_id, node_a=2)
        ask(cluster, "PUT", "/host-a/drain")
        with cluster.connections.transaction() as session:
            assert move_away(session) == []
        assert cluster.api.run(run_id)["status"] == "running"
