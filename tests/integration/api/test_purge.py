"""What is removed for good and what is not, without a Ray: the worker's pass beside the served API."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.runs.access import Caller
from api.runs.removal import restore
from api.runs.storage import PROOF_NAME
from api.runs.use import Use, use_by_user
from tests.integration.api.hooked import Hooked
from tests.integration.api.stack import SPEC, person
from worker.purge import purge_deleted


def execute(hooks: Hooked, statement: str, **values: Any) -> None:
    with hooks.api.engine.begin() as connection:
        connection.execute(text(statement), values)


def deleted(hooks: Hooked, hours_ago: float = 25) -> str:
    """A run with a folder; the first one made has to be the longest deleted, so give its hours."""
    run_id = hooks.api.new_run()
    hooks.api.cancel(run_id)
    folder_of(hooks, run_id).mkdir(parents=True)
    assert hooks.api.http.delete(f"/api/v1/runs/{run_id}", headers=person("max")).status_code == 200
    execute(
        hooks, "UPDATE runs SET deleted_at = now() - make_interval(hours => :h) WHERE id = :id", h=hours_ago, id=run_id
    )
    return run_id


def folder_of(hooks: Hooked, run_id: str) -> Path:
    return hooks.api.settings.storage / "runs" / run_id


def purge(hooks: Hooked) -> list[str]:
    return purge_deleted(hooks.connections)


def add_attempt(hooks: Hooked, run_id: str, *, released: str) -> None:
    execute(
        hooks,
        "INSERT INTO attempts (id, run_id, number, submission_id, world_size, gpus_per_worker, placement, created_at,"
        f" slots_released_at) VALUES (:id, :id, 1, :id, 4, 1, '{{}}', now() - interval '2 hours', {released})",
        id=run_id,
    )


def use_of_all(hooks: Hooked) -> list[Use]:
    with Session(hooks.api.engine) as session:
        return list(use_by_user(session, 3600).values())


class TestUse:
    def test_what_a_removed_run_had_still_counts(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        add_attempt(hooks, run_id, released="now()")
        [before] = use_of_all(hooks)
        assert before.recent_gpus > 2
        assert purge(hooks) == [run_id]
        assert hooks.api.count("attempts") == 0
        [after] = use_of_all(hooks)
        assert after.recent_gpus == pytest.approx(before.recent_gpus, rel=0.02)
        assert after.gpu_hours_this_month == pytest.approx(before.gpu_hours_this_month, abs=0.01)

    def test_it_is_kept_once_and_only_with_the_removal(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        add_attempt(hooks, run_id, released="now()")
        refuse_to_delete(hooks, run_id)
        assert purge(hooks) == purge(hooks) == []
        assert (hooks.api.count("past_use"), hooks.api.count("attempts")) == (0, 1)

    def test_what_no_longer_counts_is_dropped(self, hooks: Hooked) -> None:
        execute(
            hooks,
            "INSERT INTO past_use (user_id, world_size, gpus_per_worker, created_at, slots_released_at)"
            " SELECT id, w, 0, now() - interval '99 days', CASE w WHEN 1 THEN now() ELSE now() - interval '98 days' END"
            " FROM users, generate_series(1, 2) AS w WHERE name = 'max'",
        )
        purge(hooks)
        assert (hooks.api.count("past_use"), hooks.api.count("past_use", world_size=1)) == (1, 1)


class TestStorage:
    def test_nothing_goes_while_its_proof_is_missing(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        proof = hooks.api.settings.storage / PROOF_NAME
        away = proof.rename(proof.with_name("away"))
        assert purge(hooks) == []
        assert hooks.api.count("runs", id=run_id) == 1
        assert not proof.exists()
        with hooks.api.engine.connect() as connection:
            assert connection.execute(text("SELECT purged_at FROM runs")).scalar_one() is None
        away.rename(proof)
        assert purge(hooks) == [run_id]

    def test_nothing_goes_while_another_one_is_in_its_place(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        proof = hooks.api.settings.storage / PROOF_NAME
        ours = proof.read_text()
        proof.write_text("of-another-storage")
        assert purge(hooks) == []
        assert hooks.api.count("runs", id=run_id) == 1
        proof.write_text(ours)
        assert purge(hooks) == [run_id]

    def test_rows_stay_if_it_goes_during_the_pass(self, hooks: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
        run_id = deleted(hooks)
        proof = hooks.api.settings.storage / PROOF_NAME

        def unmounted(storage: Path, run_id: str) -> bool:
            proof.unlink()
            return True

        monkeypatch.setattr("worker.purge._remove_files", unmounted)
        assert purge(hooks) == []
        assert hooks.api.count("runs", id=run_id) == 1


def refuse_to_delete(hooks: Hooked, run_id: str) -> None:
    """The database fails for this run, and for no other."""
    execute(
        hooks,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$",
    )
    execute(
        hooks,
        "CREATE TRIGGER refuse BEFORE DELETE ON runs FOR EACH ROW"
        f" WHEN (OLD.id = '{run_id}') EXECUTE FUNCTION refuse()",
    )


class TestOrder:
    def test_what_fails_goes_behind_the_others(
        self, hooks: Hooked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("worker.purge.MOST_PURGED", 2)
        linked, broken, good = deleted(hooks, 40), deleted(hooks, 39), deleted(hooks, 38)
        folder_of(hooks, linked).rmdir()
        folder_of(hooks, linked).symlink_to(tmp_path)
        refuse_to_delete(hooks, broken)
        assert purge(hooks) == []
        assert purge(hooks) == [good]
        assert hooks.api.count("runs") == 2
        assert hooks.api.get("/runs", deleted=True).json()["items"] == [], "they stay marked"

    def test_a_pass_begins_no_further_run_when_its_time_is_over(
        self, hooks: Hooked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = deleted(hooks, 40), deleted(hooks, 39)
        readings = iter([0.0, 29.0, 31.0])
        monkeypatch.setattr("worker.purge.monotonic", lambda: next(readings))
        assert purge(hooks) == [first]
        monkeypatch.setattr("worker.purge.monotonic", time.monotonic)
        assert purge(hooks) == [second]


class TestDue:
    def test_a_run_whose_slots_are_not_free_stays(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        add_attempt(hooks, run_id, released="NULL")
        assert purge(hooks) == []
        assert folder_of(hooks, run_id).is_dir()
        execute(hooks, "UPDATE attempts SET slots_released_at = now()")
        assert purge(hooks) == [run_id]

    def test_a_restore_that_is_under_way_is_waited_for_and_wins(self, hooks: Hooked) -> None:
        run_id = deleted(hooks)
        with ThreadPoolExecutor(1) as pool, Session(hooks.api.engine) as session:
            run = session.get_one(Run, run_id, with_for_update={"key_share": True})
            caller = Caller(user_id=run.user_id, token_id=0, name="max", role="member")
            assert restore(session, caller, run)
            passing = pool.submit(purge, hooks)
            until_one_waits_for_a_lock(hooks)
            session.commit()
            assert passing.result() == []
        assert hooks.api.run(run_id)["deleted_at"] is None
        assert folder_of(hooks, run_id).is_dir()

    def test_a_run_that_a_live_one_starts_from_stays_until_that_is_over(self, hooks: Hooked) -> None:
        origin, user = deleted(hooks), hooks.api.new_run()
        # As if it had been submitted while the origin was being deleted.
        start_from(hooks, user, f'{{"checkpoint": "/mnt//storage//runs//./{origin}/checkpoints/step-1"}}')
        assert purge(hooks) == []
        assert hooks.api.get("/runs", deleted=True).json()["items"][0]["id"] == origin, "it can be restored still"
        hooks.api.cancel(user)
        assert purge(hooks) == [origin]


def start_from(hooks: Hooked, run_id: str, init: str) -> None:
    execute(
        hooks,
        "UPDATE runs SET spec = jsonb_set(spec, '{model,init_from}', CAST(:init AS jsonb)) WHERE id = :id",
        init=init,
        id=run_id,
    )


def until_one_waits_for_a_lock(hooks: Hooked) -> None:
    """Within the time that a statement waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    end = time.monotonic() + 8
    while time.monotonic() < end:
        with hooks.api.engine.connect() as connection:
            if connection.execute(text(waiting)).scalar_one():
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


class TestStartsFrom:
    @pytest.mark.parametrize(
        "init",
        [
            '{{"run": "{id}"}}',
            '{{"checkpoint": "runs/{id}"}}',
            '{{"checkpoint": "/storage/runs/{id}/checkpoints/step-00000001"}}',
            '{{"folder": "/runs/other/storage/runs/{id}/export"}}',
        ],
    )
    def test_such_a_run_is_not_deleted(self, hooks: Hooked, init: str) -> None:
        api, origin, user = hooks.api, hooks.api.new_run(), hooks.api.new_run()
        api.cancel(origin)
        start_from(hooks, user, init.format(id=origin))
        answer = api.http.delete(f"/api/v1/runs/{origin}", headers=person("max"))
        assert answer.status_code == 409
        assert f"run {user} starts from the checkpoints of {origin}" in answer.json()["detail"]

    @pytest.mark.parametrize("init", ['{{"run": "{id}0"}}', '{{"checkpoint": "runs/{id}0"}}', '{{"folder": "x/{id}"}}'])
    def test_one_that_only_looks_like_it_is(self, hooks: Hooked, init: str) -> None:
        api, origin, user = hooks.api, hooks.api.new_run(), hooks.api.new_run()
        api.cancel(origin)
        start_from(hooks, user, init.format(id=origin))
        assert api.http.delete(f"/api/v1/runs/{origin}", headers=person("max")).status_code == 200

    def test_a_private_run_of_somebody_else_is_not_named(self, hooks: Hooked) -> None:
        api, origin = hooks.api, hooks.api.new_run()
        api.cancel(origin)
        spec = {**SPEC, "model": {**SPEC["model"], "init_from": {"run": origin}}}
        hidden = api.new_run("mia", visibility="private", spec=spec)
        told = api.http.delete(f"/api/v1/runs/{origin}", headers=person("max")).json()["detail"]
        assert "a run that you may not see starts from" in told
        assert hidden not in told
        assert hidden in api.http.delete(f"/api/v1/runs/{origin}", headers=person("ada")).json()["detail"]
