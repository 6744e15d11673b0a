"""POST /attempts/{id}/claim: one winner, the same answer for it again, nothing for anybody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from api.db.tables import Attempt
from api.runs.storage import PROOF_NAME, read_proof, settle_proof
from tests.integration.api.hooked import Hooked
from tests.integration.api.stack import Api, Trainer, bearer, checkpoint, metrics, person, progress
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import EndAttempt, judge
from worker.endings import end_attempt
from worker.observation import open_attempts
from worker.ray_jobs import Job, JobState


def test_a_claim_starts_the_run_and_hands_over_all_an_attempt_needs(api: Api) -> None:
    run_id = api.new_run()
    trainer = api.start(run_id)
    claim, run = trainer.claim, api.run(run_id)
    assert (claim["run_id"], claim["attempt_number"], claim["resume"]) == (run_id, 1, [])
    assert claim["spec"] == run["spec"]
    assert claim["storage"] == str(api.settings.storage)
    assert claim["lease_interval_seconds"] == 10
    assert claim["timeouts"] == {"join": 120, "hang": 300}
    assert claim["placement"] == {"node": 2}
    assert (run["status"], run["attempt"]) == ("running", 1)
    assert run["started_at"] is not None
    assert run["attempts"][0]["lease_age_seconds"] < 5


def test_of_a_hundred_processes_at_once_one_wins(api: Api) -> None:
    run_id = api.new_run()
    attempt_id = api.launch(run_id)
    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda i: api.claim(attempt_id, f"process-of-number-{i:04d}"), range(100)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 99
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} == {"already-claimed"}
    assert api.count("events", run_id=run_id, kind="status") == 2  # admitted, started


def test_the_same_process_twenty_times_at_once_gets_one_answer(api: Api) -> None:
    attempt_id = api.launch(api.new_run())
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.claim(attempt_id), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1


def test_the_token_is_stored_hashed_only(api: Api) -> None:
    trainer = api.start(api.new_run())
    with api.engine.connect() as connection:
        rows = connection.execute(text("SELECT row_to_json(a)::text FROM attempts a")).scalars().all()
    assert trainer.token not in "".join(rows)


@pytest.mark.parametrize("code", ["", "wrong", "0" * 64])
def test_a_wrong_launch_code_claims_nothing(api: Api, code: str) -> None:
    attempt_id = api.launch(api.new_run())
    body = {"process_id": "process-0123456789"}
    answer = api.http.post(f"/api/v1/attempts/{attempt_id}/claim", headers=bearer(code), json=body)
    assert answer.status_code == 401
    assert api.count("attempts", claim_process_id="process-0123456789") == 0


class TestRefusals:
    def test_a_run_being_cancelled(self, api: Api) -> None:
        run_id = api.new_run()
        attempt_id = api.launch(run_id)
        assert api.cancel(run_id).json()["status"] == "cancelling"
        answer = api.claim(attempt_id)
        assert (answer.status_code, answer.json()["type"]) == (409, "not-claimable")
        assert api.run(run_id)["attempts"][0]["claimed_at"] is None

    def test_a_claim_and_a_cancel_at_once_leave_no_run_that_trains_uncancelled(self, api: Api) -> None:
        for _ in range(5):
            run_id = api.new_run()
            attempt_id = api.launch(run_id)
            with ThreadPoolExecutor(2) as pool:
                claim, cancel = pool.submit(api.claim, attempt_id), pool.submit(api.cancel, run_id)
            assert cancel.result().status_code == 200
            assert claim.result().status_code in (200, 409)
            assert api.run(run_id)["status"] == "cancelling"

    def test_an_attempt_that_ended(self, api: Api) -> None:
        run_id = api.new_run()
        attempt_id = api.launch(run_id)
        api.lose(run_id, attempt_id)
        assert api.claim(attempt_id).status_code == 409

    def test_an_attempt_that_was_replaced_even_for_the_process_that_held_it(self, api: Api) -> None:
        run_id = api.new_run()
        first = api.start(run_id)
        api.lose(run_id, first.attempt_id)
        second = api.launch(run_id)
        assert api.claim(first.attempt_id).status_code == 409
        assert api.claim(second).status_code == 200

    @pytest.mark.parametrize("proof", [None, "another"])
    def test_storage_that_is_not_shared_is_written_down_for_reconcile(self, api: Api, proof: str | None) -> None:
        run_id = api.new_run()
        attempt_id = api.launch(run_id)
        answer = api.claim(attempt_id, storage_proof=proof)
        assert (answer.status_code, answer.json()["type"]) == (422, "storage-not-shared")
        assert "BASIN_STORAGE" in answer.json()["detail"]
        assert api.count("attempts", id=attempt_id, reported_reason="storage_not_shared") == 1
        assert api.claim(attempt_id).status_code == 409


class TestResume:
    def test_the_newest_valid_checkpoint_on_storage_comes_first_and_ends_the_predecessors_validity(
        self, api: Api
    ) -> None:
        run_id = api.new_run()
        first = api.start(run_id)
        for step in (10, 20, 30):
            _checkpoint_folder(api, run_id, step).mkdir(parents=True)
        reports = [metrics(i, i, train_loss=1.0 / i) for i in range(1, 36)]
        marks = [checkpoint(35 + i, 10 * i, run_id) for i in (1, 2, 3)]
        assert api.report(first, *reports, *marks, progress(39, 35)).json()["acknowledged"] == 39
        _checkpoint_folder(api, run_id, 30).rmdir()  # Pruned, or lost: it must not be offered.
        api.lose(run_id, first.attempt_id)
        second = api.start(run_id)
        assert [point["step"] for point in second.claim["resume"]] == [20, 10]
        run = api.run(run_id)
        assert [attempt["valid_until_step"] for attempt in run["attempts"]] == [20, None]
        assert (run["step"], run["latest"]["train_loss"]["step"]) == (20, 20)
        assert run["latest"]["train_loss"]["best"] == pytest.approx(0.05)
        [series] = api.get(f"/runs/{run_id}/metrics").json()["series"]
        assert series["steps"] == list(range(1, 21))

        api.report(second, *[metrics(i, 20 + i, train_loss=2.0) for i in range(1, 11)])
        [series] = api.get(f"/runs/{run_id}/metrics").json()["series"]
        assert series["steps"] == list(range(1, 31))
        assert series["values"][19:21] == [0.05, 2.0]
        assert api.count("metric_points") == 45  # Nothing is deleted.

    def test_an_attempt_that_skips_a_torn_checkpoint_takes_back_what_its_claim_assumed(self, api: Api) -> None:
        run_id = api.new_run()
        first = api.start(run_id)
        for step in (10, 20):
            _checkpoint_folder(api, run_id, step).mkdir(parents=True)
        reports = [metrics(i, i, train_loss=1.0) for i in range(1, 23)]
        api.report(first, *reports, checkpoint(23, 10, run_id), checkpoint(24, 20, run_id))
        api.lose(run_id, first.attempt_id)
        second = api.start(run_id)
        assert second.claim["resume"][0]["step"] == 20
        api.report(second, metrics(1, 11, train_loss=3.0), metrics(2, 12, train_loss=3.0))
        [series] = api.get(f"/runs/{run_id}/metrics").json()["series"]
        assert series["steps"] == list(range(1, 13))
        assert series["values"][-3:] == [1.0, 3.0, 3.0]

    def test_starting_over_leaves_nothing_of_the_first_attempt(self, api: Api) -> None:
        run_id = api.new_run()
        first = api.start(run_id)
        api.report(first, metrics(1, 0, validation_loss=9.0), metrics(2, 1, train_loss=1.0))
        api.lose(run_id, first.attempt_id)
        second = api.start(run_id)
        assert second.claim["resume"] == []
        assert api.get(f"/runs/{run_id}/metrics").json()["series"] == []
        api.report(second, metrics(1, 0, validation_loss=8.0))
        [series] = api.get(f"/runs/{run_id}/metrics").json()["series"]
        assert (series["steps"], series["values"]) == ([0], [8.0])


class TestLostCheckpoints:
    def test_a_run_is_not_started_over_and_says_what_was_looked_for(self, api: Api) -> None:
        run_id = api.new_run()
        first = trained_and_saved(api, run_id, 10, 20)
        api.lose(run_id, first.attempt_id)
        away = away_from(_checkpoint_folder(api, run_id, 20).parent)
        second = api.launch(run_id)
        answer = api.claim(second)
        assert (answer.status_code, answer.json()["type"]) == (422, "checkpoints-lost")
        newest, older = (f"runs/{run_id}/checkpoints/step-000000{step}" for step in (20, 10))
        assert f"is in {api.settings.storage}: looked for {newest}, {older}" in answer.json()["detail"]
        assert api.count("attempts", id=second, reported_reason="checkpoint_unreadable") == 1
        run = api.run(run_id)
        assert (run["status"], run["attempts"][0]["valid_until_step"]) == ("launching", None)
        [series] = api.get(f"/runs/{run_id}/metrics").json()["series"]
        assert series["steps"] == list(range(1, 21)), "nothing of it was thrown away"

        away.rename(away.with_name("checkpoints"))
        api.lose(run_id, second)
        assert [point["step"] for point in api.start(run_id).claim["resume"]] == [20, 10]

    def test_a_resumed_run_whose_checkpoint_stays_lost_fails_when_its_budget_is_used_up(self, hooks: Hooked) -> None:
        api, run_id = hooks.api, hooks.api.new_run()
        trainer = trained_and_saved(api, run_id, 10)
        assert api.http.post(f"/api/v1/runs/{run_id}/pause", headers=person("max")).json()["status"] == "pausing"
        api.report(trainer, {"kind": "ended", "seq": 1, "reason": "paused", "detail": ""}, writer="driver")
        job_is_over(hooks, trainer.attempt_id)
        assert api.run(run_id)["status"] == "paused"
        away_from(_checkpoint_folder(api, run_id, 10).parent)
        assert api.http.post(f"/api/v1/runs/{run_id}/resume", headers=person("max")).json()["status"] == "queued"
        refused = 0
        while api.run(run_id)["status"] == "queued":
            attempt_id = api.launch(run_id)
            assert api.claim(attempt_id).json()["type"] == "checkpoints-lost"
            refused += 1
            job_is_over(hooks, attempt_id)
        assert refused == api.settings.max_failures + 1
        run = api.run(run_id)
        assert (run["status"], run["reason"]) == ("failed", "checkpoint_unreadable")
        assert f"runs/{run_id}/checkpoints/step-00000010" in run["detail"]
        last = api.get(f"/runs/{run_id}/events").json()["items"][-1]
        assert last["text"] == ENDS[EndReason.checkpoint_unreadable].sentence

    def test_points_that_no_longer_count_are_not_missed(self, api: Api) -> None:
        run_id = api.new_run()
        first = trained_and_saved(api, run_id, 10)
        api.lose(run_id, first.attempt_id)
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE attempts SET valid_until_step = 0"))  # a later one started over
        away_from(_checkpoint_folder(api, run_id, 10).parent)
        assert api.start(run_id).claim["resume"] == []

    def test_a_claim_asked_again_is_not_answered_without_what_the_first_answer_had(self, api: Api) -> None:
        run_id = api.new_run()
        first = trained_and_saved(api, run_id, 10)
        api.lose(run_id, first.attempt_id)
        second = api.start(run_id)
        away = away_from(_checkpoint_folder(api, run_id, 10).parent)
        assert api.claim(second.attempt_id).status_code == 503
        away.rename(away.with_name("checkpoints"))
        assert api.claim(second.attempt_id).json() == second.claim


class TestStorageAway:
    """A mount point without its mount, or with another one: whoever claims is told to ask again."""

    def test_a_claim_is_answered_later_and_ends_nothing(self, api: Api) -> None:
        run_id = api.new_run()
        attempt_id = api.launch(run_id)
        proof = api.settings.storage / PROOF_NAME
        away = proof.rename(proof.with_name("away"))
        for seen_by_the_trainer in (None, away.read_text()):
            answer = api.claim(attempt_id, storage_proof=seen_by_the_trainer)
            assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
            assert f"{proof} cannot be read: mount the storage" in answer.json()["detail"]
        assert not proof.exists(), "a proof on a bare mount point would be another storage's"
        with api.engine.connect() as connection:
            assert connection.execute(text("SELECT reported_reason FROM attempts")).scalars().all() == [None]
        away.rename(proof)
        assert api.claim(attempt_id).status_code == 200

    def test_another_storage_is_known_as_such_though_the_trainer_sees_the_same(self, api: Api) -> None:
        attempt_id = api.launch(api.new_run())
        proof = api.settings.storage / PROOF_NAME
        ours = proof.read_text()
        proof.write_text("of-another-storage")
        answer = api.claim(attempt_id)
        assert answer.status_code == 503
        assert f"write {ours!r} into the file" in answer.json()["detail"]
        proof.write_text(ours + "\n")
        assert api.claim(attempt_id).status_code == 200

    def test_an_api_that_starts_meanwhile_makes_no_new_proof(self, api: Api) -> None:
        api.start(api.new_run())
        proof = api.settings.storage / PROOF_NAME
        proof.unlink()
        settle_proof(api.engine, api.settings.storage)
        # Nor one of this version, on a database that an earlier one left.
        with api.engine.begin() as connection:
            connection.execute(text("DELETE FROM storage_proof"))
        settle_proof(api.engine, api.settings.storage)
        assert not proof.exists()
        assert api.claim(api.launch(api.new_run())).status_code == 503

    def test_a_database_of_an_earlier_version_takes_the_proof_that_is_there(self, api: Api) -> None:
        api.start(api.new_run())
        proof = read_proof(api.settings.storage)
        with api.engine.begin() as connection:
            connection.execute(text("DELETE FROM storage_proof"))
        api.start(api.new_run())
        assert api.count("storage_proof", proof=proof) == 1

    def test_where_the_database_was_away_at_the_start_the_first_claim_makes_it_and_asks_to_come_again(
        self, api: Api, tmp_path: Path
    ) -> None:
        gone = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
        settle_proof(gone, tmp_path / "untouched")
        assert not (tmp_path / "untouched").exists()
        as_if_new(api.engine, api.settings.storage)
        attempt_id = api.launch(api.new_run())
        assert api.claim(attempt_id).status_code == 503
        assert api.claim(attempt_id).status_code == 200


def as_if_new(engine: Engine, storage: Path) -> None:
    (storage / PROOF_NAME).unlink()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM storage_proof"))


def trained_and_saved(api: Api, run_id: str, *steps: int) -> Trainer:
    """A first attempt that trained up to the last of the steps and has saved a checkpoint at each."""
    trainer = api.start(run_id)
    for step in steps:
        _checkpoint_folder(api, run_id, step).mkdir(parents=True)
    last = steps[-1]
    points = [metrics(i, i, train_loss=1.0) for i in range(1, last + 1)]
    answer = api.report(trainer, *points, *(checkpoint(last + i, s, run_id) for i, s in enumerate(steps, start=1)))
    assert answer.status_code == 200, answer.text
    return trainer


def away_from(folder: Path) -> Path:
    return folder.rename(folder.with_name("away"))


def job_is_over(hooks: Hooked, attempt_id: str) -> None:
    """What reconcile does when Ray says so."""
    with hooks.connections.transaction() as session:
        row = session.get_one(Attempt, attempt_id, with_for_update=True)
        [item] = open_attempts(session, attempt_id=attempt_id)
        job = Job(submission_id=row.submission_id, state=JobState.ended)
        verdict = judge(item.with_ray(job, placement_alive=True), hooks.connections.limits)
        assert isinstance(verdict, EndAttempt), verdict
        end_attempt(session, row, verdict, hooks.connections.limits)


def _checkpoint_folder(api: Api, run_id: str, step: int) -> Path:
    return api.settings.storage / "runs" / run_id / "checkpoints" / f"step-{step:08d}"
