"""POST /runs: stored as sent, once per key, committed before the answer; what can never fit is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from sqlalchemy import text

from tests.integration.api.stack import SPEC, Api, person
from trainer.contract.methods import LookSAM


def test_a_submission_is_queued_with_its_defaults_filled_in_and_kept_as_sent(api: Api) -> None:
    answer = api.submit(name="first", project="digits")
    assert answer.status_code == 201
    run = answer.json()
    assert answer.headers["Location"] == f"/api/v1/runs/{run['id']}"
    assert (run["status"], run["user"], run["name"], run["project"]) == ("queued", "max", "first", "digits")
    assert (run["position"], run["visibility"], run["attempts"]) == (1, "team", [])
    assert run["request"] == {"spec": SPEC, "name": "first", "project": "digits"}
    assert run["spec"]["method"] == LookSAM(name="looksam").model_dump(mode="json")
    [event] = api.get(f"/runs/{run['id']}/events").json()["items"]
    assert (event["kind"], event["actor"]) == ("submitted", "user:max")


def test_the_answer_leaves_after_the_commit(api: Api) -> None:
    """A commit that fails must not follow a 201: here a deferred trigger makes it fail at the last moment."""
    with api.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = '57014'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON runs DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    answer = api.submit()
    assert answer.status_code == 503, answer.text
    assert api.count("runs") == 0


def test_the_launch_message_is_sent(api: Api) -> None:
    run_id = api.new_run()
    with redis.Redis.from_url(api.settings.broker_url) as broker:
        messages = b"".join(broker.lrange("celery", 0, -1))
    assert run_id in _bodies(messages)


def _bodies(messages: bytes) -> str:
    import base64
    import re

    return " ".join(base64.b64decode(body).decode() for body in re.findall(rb'"body": ?"([^"]+)"', messages))


class TestIdempotencyKey:
    def test_the_same_key_and_body_give_the_same_run(self, api: Api) -> None:
        first, second = api.submit(key="k1"), api.submit(key="k1")
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["id"] == second.json()["id"]
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"

    def test_the_order_of_fields_makes_no_other_body(self, api: Api) -> None:
        run_id = api.new_run(key="k1")
        turned = dict(reversed(SPEC.items()))
        assert api.submit(key="k1", spec=turned).json()["id"] == run_id

    def test_the_same_key_with_another_body_is_a_mistake(self, api: Api) -> None:
        run_id = api.new_run(key="k1")
        answer = api.submit(key="k1", name="other")
        assert answer.status_code == 422
        assert answer.json()["type"] == "idempotency-mismatch"
        assert run_id in answer.json()["detail"]

    def test_keys_belong_to_people(self, api: Api) -> None:
        assert api.new_run("max", key="k1") != api.new_run("mia", key="k1")

    def test_twenty_at_once_give_one_run(self, api: Api) -> None:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: api.submit(key="same"), range(20)))
        assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert api.count("runs") == 1
        assert api.count("events") == 1

    @pytest.mark.parametrize("key", ["x" * 129, "tab\there"])
    def test_a_key_that_is_no_key_is_refused(self, api: Api, key: str) -> None:
        answer = api.submit(key=key)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == "Idempotency-Key"


class TestWhatNeverFits:
    @pytest.fixture(autouse=True)
    def _a_cluster_of_four_cpu_slots(self, api: Api) -> None:
        with api.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO cluster_nodes (node_id, host, cpus, gpus, alive) VALUES ('n', 'h', 4, 0, true)")
            )

    def test_a_gpu_where_there_is_none(self, api: Api) -> None:
        answer = api.submit(spec=SPEC | {"resources": {"gpus_per_worker": 1}})
        assert answer.status_code == 422
        assert answer.json()["detail"] == "spec.resources.gpus_per_worker is 1: this cluster has no GPUs. Set 0"

    def test_more_workers_than_slots(self, api: Api) -> None:
        answer = api.submit(spec=SPEC | {"resources": {"workers": 8}})
        [problem] = answer.json()["errors"]
        assert (problem["path"], problem["value"]) == ("spec.resources.workers", "8")
        assert "4 CPU slots" in problem["allowed"]
        assert api.count("runs") == 0

    def test_what_fits_is_taken(self, api: Api) -> None:
        assert api.submit(spec=SPEC | {"resources": {"workers": 4}}).status_code == 201


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"colour": "red"}, "spec.colour"),
        ({"method": {"name": "sam", "rho": -1}}, "spec.method.rho"),
        ({"method": {"name": "looksam", "k": 0}}, "spec.method.k"),
        ({"method": {"name": "looksam", "alpha": -0.1}}, "spec.method.alpha"),
        ({"method": {"name": "adamax"}}, "spec.method.name"),
        ({"model": {"name": "vit_tiny_patch16_244"}}, "spec.model.name"),
        ({"global_batch_size": 63}, "spec.global_batch_size"),
        ({"epochs": 3}, "spec"),
        ({"model": SPEC["model"] | {"arguments": {"a": "\0"}}}, "spec.model.arguments.a"),
    ],
)
def test_a_bad_spec_is_told_by_its_field(api: Api, change: dict[str, Any], path: str) -> None:
    answer = api.submit(spec=SPEC | change)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["path"].startswith(path)
    assert answer.json()["errors"][0]["allowed"]
    assert answer.json()["errors"][0]["remedy"]
    assert api.count("runs") == 0


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b'{"spec": 3}',
        b'{"spec": {"steps": 1e999}}',
        b'{"spec": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": "\\ud800", "spec": {}}',
        b"",
    ],
)
def test_a_body_that_is_no_submission_is_a_mistake_and_no_accident(api: Api, body: bytes) -> None:
    headers = person("max") | {"Content-Type": "application/json"}
    answer = api.http.post("/api/v1/runs", headers=headers, content=body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("value", [float("inf"), "\ud800", {"deep": [[[[[[]]]]]]}])
def test_what_the_database_cannot_hold_is_refused_by_its_place(api: Api, value: Any) -> None:
    deep: Any = value
    for _ in range(30):
        deep = [deep] if isinstance(value, dict) else deep
    import json

    body = json.dumps({"spec": SPEC | {"model": SPEC["model"] | {"arguments": {"a": deep}}}})
    headers = person("max") | {"Content-Type": "application/json"}
    answer = api.http.post("/api/v1/runs", headers=headers, content=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["path"].startswith("spec.model.arguments.a")


def test_the_key_of_a_deleted_run_is_a_conflict_until_that_is_gone(api: Api) -> None:
    run_id = api.submit(key="k").json()["id"]
    api.cancel(run_id)
    api.http.delete(f"/api/v1/runs/{run_id}", headers=person("max"))
    answer = api.submit(key="k")
    assert (answer.status_code, answer.json()["run_id"]) == (409, run_id)
    assert f"`basin run restore {run_id}`" in answer.json()["detail"]
    with api.engine.begin() as connection:
        connection.execute(text("UPDATE runs SET purged_at = now()"))
    answer = api.submit(key="k")
    assert answer.status_code == 409
    assert "restore" not in answer.json()["detail"]
    with api.engine.begin() as connection:
        connection.execute(text("DELETE FROM runs"))
    assert api.submit(key="k").status_code == 201
