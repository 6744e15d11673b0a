"""The queue as people see and change it: priority, places, live news of both."""

from __future__ import annotations

import base64
import re
from typing import Any

import httpx
import pytest
import redis

from tests.integration.api.listening import listening
from tests.integration.api.stack import Api, person


def patch(api: Api, run_id: str, who: str = "max", **fields: Any) -> httpx.Response:
    return api.http.patch(f"/api/v1/runs/{run_id}", headers=person(who), json=fields)


def places(api: Api, *run_ids: str) -> list[int | None]:
    return [api.run(run_id)["position"] for run_id in run_ids]


class TestOrder:
    def test_higher_priority_is_first_and_equal_ones_are_in_the_order_they_came(self, api: Api) -> None:
        low, first, second, high = (api.new_run(priority=priority) for priority in (-5, 0, 0, 7))
        assert places(api, high, first, second, low) == [1, 2, 3, 4]
        listed = {run["id"]: (run["position"], run["priority"]) for run in api.get("/runs").json()["items"]}
        assert listed == {high: (1, 7), first: (2, 0), second: (3, 0), low: (4, -5)}

    def test_a_run_that_lost_its_attempt_waits_behind_those_that_wait_already(self, api: Api) -> None:
        lost = api.new_run()
        attempt = api.launch(lost)
        waiting = api.new_run()
        api.claim(attempt)
        api.lose(lost, attempt)
        assert places(api, waiting, lost) == [1, 2]

    @pytest.mark.parametrize("priority", [-1001, 1001, 1.5, "high", None])
    def test_a_priority_out_of_range_is_a_mistake(self, api: Api, priority: Any) -> None:
        answer = api.submit(priority=priority)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["path"].startswith("priority")


class TestEdit:
    def test_a_new_priority_reorders_at_once_with_an_event_and_a_message(self, api: Api) -> None:
        first, second = api.new_run(), api.new_run()
        with redis.Redis.from_url(api.settings.broker_url) as broker:
            broker.delete("celery")
            run = patch(api, second, priority=3).json()
            assert (run["position"], run["priority"]) == (1, 3)
            [message] = api.messages()
            assert b'"task": "launch"' in message
        assert places(api, second, first) == [1, 2]
        event = api.get(f"/runs/{second}/events").json()["items"][-1]
        assert (event["kind"], event["actor"], event["text"]) == ("edited", "user:max", "Priority changed from 0 to 3.")
        assert event["data"] == {"field": "priority", "from": 0, "to": 3}

    def test_those_whose_place_changed_are_told_live(self, api: Api) -> None:
        first, second, third, fourth = (api.new_run() for _ in range(4))
        with listening(api) as ear:
            patch(api, third, priority=1)
            told = [ear.next("run") for _ in range(3)]
            assert {run["id"]: run["position"] for run in told} == {third: 1, first: 2, second: 3}
            patch(api, fourth, name="end")
            assert ear.next("run")["id"] == fourth

    def test_a_submission_that_goes_before_others_tells_them(self, api: Api) -> None:
        first = api.new_run()
        with listening(api) as ear:
            urgent = api.new_run(priority=1)
            told = {(run := ear.next("run"))["id"]: run["position"] for _ in range(2)}
            assert told == {urgent: 1, first: 2}

    def test_only_while_it_waits_and_then_nothing_is_changed(self, api: Api) -> None:
        run_id = api.new_run(name="old")
        api.start(run_id)
        answer = patch(api, run_id, priority=3, name="new")
        assert (answer.status_code, answer.json()["type"]) == (409, "conflict")
        assert "running" in answer.json()["detail"]
        assert (api.run(run_id)["name"], api.run(run_id)["priority"]) == ("old", 0)
        assert patch(api, run_id, name="new", priority=0).json()["name"] == "new", "the same priority is no change"

    def test_name_and_study_at_any_time_and_null_takes_it_out(self, api: Api) -> None:
        run_id = api.new_run(study="a")
        api.cancel(run_id)
        assert patch(api, run_id, study=" b ", name="new").json()["study"] == "b"
        assert patch(api, run_id, name="newer").json()["study"] == "b"
        assert patch(api, run_id, study=None).json()["study"] is None
        texts = [event["text"] for event in api.get(f"/runs/{run_id}/events").json()["items"]]
        assert texts[-4:] == ["Renamed.", "Put into a study.", "Renamed.", "Taken out of its study."]

    def test_what_is_the_same_leaves_no_trace(self, api: Api) -> None:
        run_id = api.new_run(name="same", study="s")
        before = api.count("events"), api.count("changes")
        assert patch(api, run_id, name="same", study="s", priority=0).status_code == 200
        assert (api.count("events"), api.count("changes")) == before

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({}, "body"),
            ({"colour": "red"}, "colour"),
            ({"name": " "}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"study": "x" * 129}, "study"),
            ({"study": "a\u0000"}, "study"),
            ({"priority": 5000}, "priority"),
        ],
    )
    def test_a_bad_edit_is_told_by_its_field(self, api: Api, fields: dict[str, Any], path: str) -> None:
        answer = patch(api, api.new_run(), **fields)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["path"] == path

    def test_owners_and_admins_only_and_private_runs_are_not_there(self, api: Api) -> None:
        shared, private = api.new_run("max"), api.new_run("max", visibility="private")
        assert [patch(api, shared, who, priority=1).status_code for who in ("mia", "vic", "ada")] == [403, 403, 200]
        hidden, missing = patch(api, private, "mia", priority=1), patch(api, "0" * 12, "mia", priority=1)
        assert hidden.status_code == missing.status_code == 404
        assert hidden.json()["detail"].replace(private, "0" * 12) == missing.json()["detail"]


class TestCancelMany:
    @staticmethod
    def cancel(api: Api, who: str, *run_ids: str) -> dict[str, Any]:
        answer = api.http.post("/api/v1/runs/cancel", headers=person(who), json={"run_ids": run_ids})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def test_each_by_itself_in_order(self, api: Api) -> None:
        first, second, running, over = (api.new_run() for _ in range(4))
        api.start(running)
        api.cancel(over)
        others, private = api.new_run("mia"), api.new_run("mia", visibility="private")
        outcome = self.cancel(api, "max", second, others, over, private, "nothing", running, second, first)
        assert outcome["cancelled"] == [second, running, first]
        assert outcome["already_over"] == [over]
        assert [refusal["run_id"] for refusal in outcome["refused"]] == [others, private, "nothing"]
        assert "not yours" in outcome["refused"][0]["detail"]
        assert outcome["refused"][1]["detail"].replace(private, "nothing") == outcome["refused"][2]["detail"]
        assert [api.run(run_id)["status"] for run_id in (first, second, running, others, private)] == [
            "cancelled", "cancelled", "cancelling", "queued", "queued",
        ]  # fmt: skip

    def test_a_thousand_at_most_and_one_at_least(self, api: Api) -> None:
        for run_ids, status in ((["r"] * 1000, 200), (["r"] * 1001, 422), ([], 422), (["\u0000"], 200)):
            answer = api.http.post("/api/v1/runs/cancel", headers=person("max"), json={"run_ids": run_ids})
            assert answer.status_code == status, answer.text

    def test_one_that_is_locked_too_long_does_not_fail_the_others(self, api: Api) -> None:
        locked, free = api.new_run(), api.new_run()
        with api.engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT id FROM runs WHERE id = '{locked}' FOR UPDATE")
            outcome = self.cancel(api, "max", locked, free)
        assert outcome["cancelled"] == [free]
        assert outcome["refused"] == [{"run_id": locked, "detail": "the database did not answer in time: try again"}]


class TestStudies:
    def test_counts_by_study_the_newest_first(self, api: Api) -> None:
        runs = [api.new_run(study=" sweep "), api.new_run(study="sweep"), api.new_run(study="other"), api.new_run()]
        api.cancel(runs[0])
        items = api.get("/studies").json()["items"]
        assert [study["name"] for study in items] == ["other", "sweep"]
        assert items[1] == {
            "name": "sweep", "runs": 2, "live": 1, "succeeded": 0, "failed": 0,
            "newest_at": api.run(runs[1])["created_at"],
        }  # fmt: skip
        assert [study["name"] for study in api.get("/studies", q="SWE").json()["items"]] == ["sweep"]
        assert {run["id"] for run in api.get("/runs", study="sweep").json()["items"]} == set(runs[:2])

    def test_only_runs_that_one_may_see_count(self, api: Api) -> None:
        api.new_run("max", study="secret", visibility="private")
        api.new_run("max", study="both", visibility="private")
        api.new_run("max", study="both")
        found = {
            who: {s["name"]: s["runs"] for s in api.get("/studies", who).json()["items"]}
            for who in ("mia", "max", "ada")
        }
        assert found == {"mia": {"both": 1}, "max": {"secret": 1, "both": 2}, "ada": {"secret": 1, "both": 2}}


class TestSearch:
    def test_by_part_of_a_name_or_id_without_regard_to_case(self, api: Api) -> None:
        percent, plain = api.new_run(name="100% Wide"), api.new_run(name="wide_er")

        def found(q: str) -> set[str]:
            return {run["id"] for run in api.get("/runs", q=q).json()["items"]}

        assert found("WIDE") == {percent, plain}
        assert found("0%") == {percent}
        assert found("e_e") == {plain}
        assert found(plain[:8].upper()) == {plain}
        assert found("nothing") == set()

    def test_a_character_that_no_name_can_hold_is_a_mistake(self, api: Api) -> None:
        for field in ("q", "study"):
            answer = api.get("/runs", **{field: "a\0"})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["path"] == f"query.{field}"


class TestOrigin:
    def test_a_copy_names_the_run_it_came_from(self, api: Api) -> None:
        original = api.new_run("max")
        copy = api.new_run("mia", copied_from=original)
        assert api.run(copy)["copied_from"] == original
        assert api.run(original)["copied_from"] is None

    def test_a_private_run_of_somebody_else_is_refused_like_one_that_is_not_there(self, api: Api) -> None:
        private = api.new_run("max", visibility="private")
        hidden, missing = api.submit("mia", copied_from=private), api.submit("mia", copied_from="0" * 12)
        assert hidden.status_code == missing.status_code == 422
        assert hidden.text.replace(private, "0" * 12) == missing.text
        assert api.submit("mia", copied_from="../x").status_code == 422

    def test_a_shared_copy_does_not_name_a_private_origin(self, api: Api) -> None:
        private = api.new_run("max", visibility="private")
        shared, own = api.new_run(copied_from=private), api.new_run(copied_from=private, visibility="private")
        admins = api.new_run("ada", copied_from=private, visibility="private")
        assert [api.run(run_id)["copied_from"] for run_id in (shared, own, admins)] == [None, private, None]


def test_the_launch_message_of_a_priority_names_the_run(api: Api) -> None:
    run_id = api.new_run()
    with redis.Redis.from_url(api.settings.broker_url) as broker:
        broker.delete("celery")
        patch(api, run_id, priority=1)
        [message] = api.messages()
    [body] = re.findall(rb'"body": ?"([^"]+)"', message)
    assert run_id in base64.b64decode(body).decode()
