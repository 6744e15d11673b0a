"""What is kept no longer: what the plan says goes, goes, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.runs import collectable_folders
from api.runs.collection import collect, plan
from api.runs.status import RunStatus
from api.runs.storage import PROOF_NAME
from api.settings import Settings
from tests.integration.api.hooked import Hooked
from tests.integration.api.stack import metrics, person
from trainer.contract.ends import EndReason
from worker.collection import collect_due

OLD_DAYS, KEPT_DAYS = 40, 30


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a limit on everything."""
    limits = dict.fromkeys(("logs_kept_days", "archived_points_kept_days", "events_kept_days"), KEPT_DAYS)
    return settings.model_copy(update={**limits, "webhook_log_kept_days": KEPT_DAYS, "orphans_kept_days": KEPT_DAYS})


def over(hooks: Hooked, *, days: int, archived: bool = False) -> str:
    """A run that ended so many days ago, with points, a log and a checkpoint."""
    run_id = hooks.api.new_run()
    trainer = hooks.api.start(run_id)
    assert hooks.api.report(trainer, *(metrics(n, n, train_loss=0.5) for n in range(1, 11))).status_code == 200
    hooks.end(run_id, RunStatus.succeeded, EndReason.completed)
    hooks.execute(
        "UPDATE runs SET ended_at = now() - make_interval(days => :d), archived_at ="
        " CASE WHEN :a THEN now() - make_interval(days => :d) END WHERE id = :id",
        d=days, a=archived, id=run_id,
    )  # fmt: skip
    write(log_of(hooks, run_id), "x" * 10_000)
    write(checkpoint_of(hooks, run_id), "weights")
    return run_id


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def log_of(hooks: Hooked, run_id: str) -> Path:
    return hooks.api.settings.storage / "runs" / run_id / "attempts" / "1" / "log" / "rank-0.log"


def checkpoint_of(hooks: Hooked, run_id: str) -> Path:
    return hooks.api.settings.storage / "runs" / run_id / "checkpoints" / "step-00000010" / "state.pt"


def age(path: Path, days: float = OLD_DAYS) -> None:
    at = time.time() - days * 86_400
    for each in (*path.rglob("*"), path):
        os.utime(each, (at, at), follow_symlinks=False)


def planned(hooks: Hooked, who: str = "ada") -> dict[str, dict[str, Any]]:
    answer = hooks.api.get("/collection", who)
    assert answer.status_code == 200, answer.text
    return {item["kind"]: item for item in answer.json()["items"]}


class TestRuns:
    def test_logs_of_runs_long_over_go_and_their_checkpoints_stay(self, hooks: Hooked) -> None:
        old, new = over(hooks, days=OLD_DAYS), over(hooks, days=1)
        assert (planned(hooks)["logs"]["items"], planned(hooks)["logs"]["bytes"] >= 10_000) == (1, True)
        assert collect_due(hooks.connections)["logs"] == 1
        assert (log_of(hooks, old).exists(), log_of(hooks, new).exists()) == (False, True)
        assert checkpoint_of(hooks, old).read_text() == "weights"
        assert planned(hooks)["logs"]["items"] == 0

    def test_points_of_archived_runs_go_and_their_latest_numbers_stay(self, hooks: Hooked) -> None:
        old, kept = over(hooks, days=OLD_DAYS, archived=True), over(hooks, days=OLD_DAYS)
        hooks.execute("ANALYZE metric_points")
        found = planned(hooks)["archived points"]
        assert (found["items"], found["bytes"] > 0) == (10, True)
        assert collect_due(hooks.connections)["archived points"] == 10
        assert (hooks.api.count("metric_points", run_id=old), hooks.api.count("metric_points", run_id=kept)) == (0, 10)
        assert hooks.api.run(old)["latest"]["train_loss"]["value"] == 0.5

    def test_events_go_but_for_the_moves_between_statuses(self, hooks: Hooked) -> None:
        old = over(hooks, days=OLD_DAYS)
        states = hooks.api.run(old)["states"]
        hooks.execute("INSERT INTO events (run_id, kind, actor, text) VALUES (:id, 'notice', 'trainer', 'x')", id=old)
        assert planned(hooks)["events"]["items"] == hooks.api.count(
            "events", run_id=old, kind="notice"
        ) + hooks.api.count("events", run_id=old, kind="submitted")
        collect_due(hooks.connections)
        with hooks.api.engine.connect() as connection:
            kinds = set(connection.execute(text("SELECT kind FROM events WHERE run_id = :id"), {"id": old}).scalars())
        assert kinds == {"status"}
        assert [state["status"] for state in hooks.api.run(old)["states"]] == [state["status"] for state in states]

    def test_a_run_that_lives_loses_nothing_however_old(self, hooks: Hooked) -> None:
        run_id = hooks.api.new_run()
        hooks.api.report(hooks.api.start(run_id), metrics(1, 1, train_loss=0.5))
        hooks.execute(
            "UPDATE runs SET created_at = now() - interval '99 days', archived_at = now() - interval '99 days'"
        )
        write(log_of(hooks, run_id), "log")
        before = hooks.api.count("events")
        assert collect_due(hooks.connections) == {}
        assert (log_of(hooks, run_id).exists(), hooks.api.count("metric_points"), hooks.api.count("events")) == (
            True, 1, before,
        )  # fmt: skip


class TestFolders:
    def test_only_old_folders_that_no_run_stands_behind_go(self, hooks: Hooked) -> None:
        runs = hooks.api.settings.storage / "runs"
        mine = over(hooks, days=1)
        for name in ("orphan1", "fresh1", "not-a-run-id"):
            write(runs / name / "checkpoints" / "state.pt", "x")
        (runs / "link1").symlink_to(runs / mine)
        for name in ("orphan1", "not-a-run-id", mine):
            age(runs / name)
        assert planned(hooks)["orphans"]["items"] == 1
        assert collect_due(hooks.connections)["orphans"] == 1
        assert sorted(path.name for path in runs.iterdir()) == sorted(["fresh1", "link1", "not-a-run-id", mine])

    def test_leftovers_of_what_was_cut_off_go_after_a_day(self, hooks: Hooked) -> None:
        storage = hooks.api.settings.storage
        for name in (".doctor-old", ".restoring-old", ".replaced-old", ".doctor-new"):
            write(storage / name / "api", "x")
        write(storage / ".basin-probe-old", "x")
        for name in (".doctor-old", ".restoring-old", ".replaced-old", ".basin-probe-old"):
            age(storage / name, 2)
        assert collect_due(hooks.connections)["leftovers"] == 4
        assert {path.name for path in storage.glob(".*-*")} == {".doctor-new", PROOF_NAME}

    def test_nothing_on_a_storage_without_its_proof_is_touched(self, hooks: Hooked) -> None:
        orphan = hooks.api.settings.storage / "runs" / "orphan1"
        write(orphan / "state.pt", "x")
        age(orphan)
        old = over(hooks, days=OLD_DAYS)
        proof = hooks.api.settings.storage / PROOF_NAME
        away = proof.rename(proof.with_name("away"))
        assert not hooks.api.get("/collection", "ada").json()["storage_is_there"]
        assert "logs" not in collect_due(hooks.connections)
        assert (orphan.exists(), log_of(hooks, old).exists()) == (True, True)
        away.rename(proof)


class TestBounds:
    def test_by_default_only_webhooks_logs_and_leftovers_have_an_end(self, hooks: Hooked) -> None:
        usual = Settings.model_validate(hooks.api.settings.model_dump(exclude={"logs_kept_days", "events_kept_days",
                                        "archived_points_kept_days", "orphans_kept_days"}))  # fmt: skip
        found = plan(hooks.connections.transaction, usual)
        limited = {item.kind for item in found.items if item.kept_days is not None}
        assert limited == {"webhook deliveries", "diagnoses", "leftovers"}

    def test_a_pass_without_time_takes_nothing_and_the_next_one_goes_on(self, hooks: Hooked) -> None:
        over(hooks, days=OLD_DAYS)
        assert collect(hooks.connections.transaction, hooks.api.settings, seconds=0) == {}
        assert "logs" in collect_due(hooks.connections)

    def test_more_runs_and_folders_than_one_page_holds(self, hooks: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collectable_folders, "IDS_AT_ONCE", 2)
        old, new = [over(hooks, days=OLD_DAYS) for _ in range(5)], over(hooks, days=1)
        unknown = [hooks.api.settings.storage / "runs" / f"orphan{number}" for number in range(5)]
        for folder in unknown:
            write(folder / "state.pt", "x")
            age(folder)
        assert (planned(hooks)["logs"]["items"], planned(hooks)["orphans"]["items"]) == (5, 5)
        gone = collect_due(hooks.connections)
        assert (gone["logs"], gone["orphans"]) == (5, 5)
        assert not any(log_of(hooks, run_id).exists() for run_id in old)
        assert log_of(hooks, new).exists()
        assert not any(folder.exists() for folder in unknown)

    def test_only_admins_look_and_collect(self, hooks: Hooked) -> None:
        assert hooks.api.get("/collection", "max").status_code == 403
        assert hooks.api.http.post("/api/v1/collection", headers=person("max")).status_code == 403
        assert hooks.api.http.post("/api/v1/collection", headers=person("ada")).status_code == 202
