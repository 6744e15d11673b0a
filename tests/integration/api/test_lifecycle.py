"""Pausing, resuming, cancelling twice, limits, archiving and deleting, as people and trainers see them over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.api.stack import SPEC, Api, metrics, person, progress


def post(api: Api, path: str, who: str = "max", **body: Any) -> Any:
    return api.http.post(f"/api/v1/runs{path}", headers=person(who), json=body or None)


def done(api: Api, run_id: str, act: str, who: str = "max") -> dict[str, Any]:
    answer = post(api, f"/{run_id}/{act}", who)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ids(api: Api, who: str = "max", **query: Any) -> list[str]:
    return [run["id"] for run in api.get("/runs", who, **query).json()["items"]]


def texts(api: Api, run_id: str) -> list[str]:
    return [event["text"] for event in api.get(f"/runs/{run_id}/events").json()["items"]]


def over(api: Api, who: str = "max", **fields: Any) -> str:
    run_id = api.new_run(who, **fields)
    assert api.cancel(run_id, who).json()["status"] == "cancelled"
    return run_id


class TestPause:
    def test_a_queued_run_is_paused_at_once_and_queues_behind_the_others_when_resumed(self, api: Api) -> None:
        first, second = api.new_run(), api.new_run()
        paused = done(api, first, "pause")
        assert (paused["status"], paused["position"]) == ("paused", None)
        assert api.run(second)["position"] == 1
        resumed = done(api, first, "resume")
        assert (resumed["status"], resumed["position"]) == ("queued", 2)
        assert [stay["status"] for stay in resumed["states"]] == ["queued", "paused", "queued"]
        assert resumed["status_at"] == resumed["states"][-1]["began_at"]

    def test_a_trainer_hears_it_with_the_answer_to_every_report_and_may_report_to_its_end(self, api: Api) -> None:
        run_id = api.new_run()
        trainer = api.start(run_id)
        assert api.report(trainer, metrics(1, 1, train_loss=1.0)).json()["command"] == "go_on"
        assert done(api, run_id, "pause")["status"] == "pausing"
        for seq in (2, 3):
            reply = api.report(trainer, metrics(seq, seq, train_loss=1.0)).json()
            assert (reply["acknowledged"], reply["command"], reply["superseded"]) == (seq, "pause", False)
        assert api.run(run_id)["latest"]["train_loss"]["step"] == 3

    def test_a_launch_that_is_being_paused_can_no_longer_be_claimed(self, api: Api) -> None:
        run_id = api.new_run()
        attempt_id = api.launch(run_id)
        assert done(api, run_id, "pause")["status"] == "pausing"
        answer = api.claim(attempt_id)
        assert (answer.status_code, answer.json()["type"]) == (409, "not-claimable")

    def test_a_resume_while_it_still_saves_is_kept_in_mind_and_a_pause_takes_it_back(self, api: Api) -> None:
        run_id = api.new_run()
        api.start(run_id)
        done(api, run_id, "pause")
        assert done(api, run_id, "resume")["status"] == "pausing"
        assert api.count("runs", id=run_id, requeues=True) == 1
        assert done(api, run_id, "pause")["status"] == "pausing"
        assert api.count("runs", id=run_id, requeues=False) == 1

    def test_repeating_changes_nothing(self, api: Api) -> None:
        run_id = api.new_run()
        assert done(api, run_id, "resume")["status"] == "queued"
        done(api, run_id, "pause")
        said = texts(api, run_id)
        assert done(api, run_id, "pause")["status"] == "paused"
        assert texts(api, run_id) == said

    def test_a_cancel_of_a_paused_or_pausing_run(self, api: Api) -> None:
        paused, pausing = api.new_run(), api.new_run()
        done(api, paused, "pause")
        assert api.cancel(paused).json()["status"] == "cancelled"
        trainer = api.start(pausing)
        done(api, pausing, "pause")
        assert api.cancel(pausing).json()["status"] == "cancelling"
        assert api.report(trainer, metrics(1, 1, train_loss=1.0)).json()["command"] == "stop"

    @pytest.mark.parametrize("act", ["pause", "resume"])
    def test_what_is_over_or_somebody_elses_is_refused(self, api: Api, act: str) -> None:
        assert post(api, f"/{over(api)}/{act}").status_code == 409
        theirs = api.new_run("mia")
        assert post(api, f"/{theirs}/{act}").status_code == 403
        assert post(api, f"/{theirs}/{act}", "vic").status_code == 403
        assert post(api, f"/{theirs}/{act}", "ada").status_code == 200

    def test_many_at_once_each_by_itself(self, api: Api) -> None:
        queued, ended, theirs = api.new_run(), over(api), api.new_run("mia")
        outcome = post(api, "/pause", run_ids=[queued, ended, theirs, "nosuchrun", queued]).json()
        assert outcome["changed"] == [queued]
        assert [each["run_id"] for each in outcome["refused"]] == [ended, theirs, "nosuchrun"]
        again = post(api, "/pause", run_ids=[queued]).json()
        assert (again["changed"], again["unchanged"]) == ([], [queued])
        assert post(api, "/resume", run_ids=[queued]).json()["changed"] == [queued]


class TestCancelTwice:
    def running(self, api: Api) -> str:
        run_id = api.new_run()
        api.start(run_id)
        assert api.cancel(run_id).json()["status"] == "cancelling"
        return run_id

    def test_a_second_cancel_stops_at_once_and_a_double_click_is_no_second_one(self, api: Api) -> None:
        run_id = self.running(api)
        api.cancel(run_id)
        assert api.count("runs", id=run_id, cancel_at_once=False) == 1
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE runs SET cancel_requested_at = cancel_requested_at - interval '2 s'"))
        for _ in range(2):
            assert api.cancel(run_id).json()["status"] == "cancelling"
        assert api.count("runs", id=run_id, cancel_at_once=True) == 1
        assert [said[:15] for said in texts(api, run_id)].count("Cancelled again") == 1

    def test_now_needs_no_second_one(self, api: Api) -> None:
        run_id = self.running(api)
        assert api.http.post(f"/api/v1/runs/{run_id}/cancel?now=true", headers=person("max")).status_code == 200
        assert api.count("runs", id=run_id, cancel_at_once=True) == 1

    def test_many_are_stopped_at_once_only_when_that_is_said(self, api: Api) -> None:
        run_id = self.running(api)
        assert post(api, "/cancel", run_ids=[run_id]).json()["already_over"] == [run_id]
        assert post(api, "/cancel", run_ids=[run_id], now=True).json()["cancelled"] == [run_id]
        assert api.count("runs", id=run_id, cancel_at_once=True) == 1


class TestLimits:
    def test_they_are_kept_where_reconcile_finds_them(self, api: Api) -> None:
        limits = {"time_limit_seconds": 3600, "deadline": "2999-01-01T00:00:00+01:00", "max_failures": 0}
        run_id = api.new_run(spec={**SPEC, "limits": limits})
        assert api.run(run_id)["spec"]["limits"]["time_limit_seconds"] == 3600
        with api.engine.connect() as connection:
            row = connection.execute(text("SELECT time_limit_seconds, deadline::text FROM runs")).one()
        assert tuple(row) == (3600.0, "2998-12-31 23:00:00+00")

    @pytest.mark.parametrize(
        ("limits", "path"),
        [
            ({"deadline": "2020-01-01T00:00:00Z"}, "spec.limits.deadline"),
            ({"deadline": "2999-01-01T00:00:00"}, "spec.limits.deadline"),
            ({"time_limit_seconds": 0}, "spec.limits.time_limit_seconds"),
            ({"max_failures": -1}, "spec.limits.max_failures"),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, api: Api, limits: dict[str, Any], path: str) -> None:
        answer = api.submit(spec={**SPEC, "limits": limits})
        assert answer.status_code == 422
        assert [problem["path"] for problem in answer.json()["errors"]] == [path]

    def test_a_trainer_whose_run_reached_a_limit_is_told_to_stop(self, api: Api) -> None:
        run_id = api.new_run()
        trainer = api.start(run_id)
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE runs SET limit_reached = 'time_limit', limit_reached_at = now()"))
        assert api.report(trainer, progress(1, 1)).json()["command"] == "stop"


class TestArchive:
    def test_it_is_left_out_of_lists_and_still_there(self, api: Api) -> None:
        kept, archived = over(api), over(api)
        assert post(api, "/archive", run_ids=[archived]).json()["changed"] == [archived]
        assert ids(api) == [kept]
        assert ids(api, archived=True) == [archived]
        assert api.run(archived)["archived_at"] is not None
        assert post(api, "/unarchive", run_ids=[archived]).json()["changed"] == [archived]
        assert ids(api) == [archived, kept]

    def test_only_what_is_over(self, api: Api) -> None:
        [refused] = post(api, "/archive", run_ids=[api.new_run()]).json()["refused"]
        assert "cancel it first" in refused["detail"]


class TestDelete:
    def test_it_is_hidden_everywhere_until_it_is_restored(self, api: Api) -> None:
        run_id = over(api, study="kept apart")
        answer = api.http.delete(f"/api/v1/runs/{run_id}", headers=person("max"))
        assert answer.status_code == 200
        assert answer.json()["deleted_at"] is not None
        for path in ("", "/events", "/metrics", "/checkpoints"):
            assert api.get(f"/runs/{run_id}{path}").status_code == 404
        assert ids(api) == ids(api, archived=True) == []
        assert api.get("/studies").json()["items"] == []
        assert api.submit(copied_from=run_id).status_code == 422
        assert ids(api, deleted=True) == [run_id]
        assert post(api, "/restore", run_ids=[run_id]).json()["changed"] == [run_id]
        assert ids(api) == [run_id]
        assert texts(api, run_id)[-2:] == ["Deleted.", "Restored."]

    def test_what_is_being_removed_cannot_be_restored(self, api: Api) -> None:
        run_id = over(api)
        post(api, "/delete", run_ids=[run_id])
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE runs SET purged_at = now()"))
        assert ids(api, deleted=True) == []
        [refused] = post(api, "/restore", run_ids=[run_id]).json()["refused"]
        assert "no deleted run" in refused["detail"]

    def test_others_and_live_runs_are_refused(self, api: Api) -> None:
        theirs, live, mine = over(api, "mia"), api.new_run(), over(api)
        outcome = post(api, "/delete", run_ids=[theirs, live, mine]).json()
        assert outcome["changed"] == [mine]
        assert [each["run_id"] for each in outcome["refused"]] == [theirs, live]
        assert post(api, "/restore", "mia", run_ids=[mine]).json()["changed"] == []

    def test_a_run_whose_checkpoints_a_live_one_starts_from_stays(self, api: Api) -> None:
        origin, user = over(api), api.new_run()
        with api.engine.begin() as connection:
            connection.execute(
                text("UPDATE runs SET spec = jsonb_set(spec, '{model,init_from}', :init) WHERE id = :id"),
                {"init": f'{{"run": "{origin}"}}', "id": user},
            )
        [refused] = post(api, "/delete", run_ids=[origin]).json()["refused"]
        assert f"run {user} starts from" in refused["detail"]
        api.cancel(user)
        assert post(api, "/delete", run_ids=[origin]).json()["changed"] == [origin]


def test_a_run_tells_how_long_each_status_took(api: Api) -> None:
    run_id = api.new_run()
    api.start(run_id)
    done(api, run_id, "pause")
    stays = api.run(run_id)["states"]
    assert [stay["status"] for stay in stays] == ["queued", "launching", "running", "pausing"]
    assert [stay["ended_at"] for stay in stays[:-1]] == [stay["began_at"] for stay in stays[1:]]
    assert all(stay["seconds"] >= 0 for stay in stays)
