"""POST /attempts/{id}/reports: in order, once, whatever is sent however often; and what it changes."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from api.db.tables import Attempt, Run
from tests.integration.api.hooked import Hooked
from tests.integration.api.stack import Api, Trainer, bearer, checkpoint, metrics, progress
from tests.integration.api.test_purge import until_one_waits_for_a_lock


@pytest.fixture
def run_id(api: Api) -> str:
    return api.new_run()


@pytest.fixture
def trainer(api: Api, run_id: str) -> Trainer:
    return api.start(run_id)


class TestOrder:
    def test_a_batch_sent_twice_is_stored_once(self, api: Api, trainer: Trainer) -> None:
        batch = [metrics(1, 1, train_loss=2.0), metrics(2, 2, train_loss=1.0)]
        for _ in range(2):
            answer = api.report(trainer, *batch)
            assert answer.json() == {"acknowledged": 2, "command": "go_on", "superseded": False}
        assert api.count("metric_points") == 2

    def test_what_is_new_in_an_overlapping_batch_is_stored(self, api: Api, trainer: Trainer) -> None:
        api.report(trainer, metrics(1, 1, train_loss=2.0), metrics(2, 2, train_loss=1.0))
        answer = api.report(trainer, metrics(2, 2, train_loss=7.0), metrics(3, 3, train_loss=0.5))
        assert answer.json()["acknowledged"] == 3
        with api.engine.connect() as connection:
            values = connection.execute(text("SELECT value FROM metric_points ORDER BY step")).scalars().all()
        assert values == [2.0, 1.0, 0.5]

    @pytest.mark.parametrize("seqs", [[3, 4], [2], [1, 3], [1, 1], [1, 2, 1]])
    def test_a_gap_is_refused_and_says_where_to_go_on(self, api: Api, trainer: Trainer, seqs: list[int]) -> None:
        answer = api.report(trainer, *[metrics(seq, seq, train_loss=1.0) for seq in seqs])
        assert answer.status_code == 409
        assert (answer.json()["type"], answer.json()["acknowledged"]) == ("report-gap", 0)
        assert api.count("metric_points") == 0

    def test_the_two_writers_count_for_themselves(self, api: Api, trainer: Trainer) -> None:
        lease = {"kind": "lease", "seq": 1, "doing": "waiting for 2 workers"}
        assert api.report(trainer, lease, writer="driver").json()["acknowledged"] == 1
        assert api.report(trainer, progress(1, 5)).json()["acknowledged"] == 1
        assert api.count("report_marks") == 2

    def test_the_same_batch_twenty_times_at_once_is_stored_once(self, api: Api, trainer: Trainer, run_id: str) -> None:
        batch = [metrics(i, i, train_loss=1.0, a_new_name=float(i)) for i in range(1, 51)]
        batch += [checkpoint(51, 50, run_id), {"kind": "notice", "seq": 52, "code": "c", "text": "t", "step": 50}]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: api.report(trainer, *batch), range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["acknowledged"] for answer in answers} == {52}
        assert api.count("metric_points") == 100
        assert (api.count("events", kind="checkpoint"), api.count("events", kind="notice")) == (1, 1)

    def test_both_writers_at_once_many_times_lose_nothing_and_wait_for_nobody_in_a_circle(
        self, api: Api, trainer: Trainer
    ) -> None:
        def drive() -> list[httpx.Response]:
            return [
                api.report(trainer, {"kind": "lease", "seq": i, "doing": "x"}, writer="driver") for i in range(1, 21)
            ]

        def train() -> list[httpx.Response]:
            return [api.report(trainer, metrics(i, i, train_loss=1.0), progress(21 + i, i)) for i in range(1, 2)] + [
                api.report(trainer, metrics(i, i, train_loss=1.0)) for i in range(1, 21)
            ]

        with ThreadPoolExecutor(2) as pool:
            driver, rank0 = pool.submit(drive), pool.submit(train)
        assert {answer.status_code for answer in driver.result()} == {200}
        assert [answer.status_code for answer in rank0.result()] == [409] + [200] * 20
        assert api.count("metric_points") == 20

    def test_who_finds_a_torn_checkpoint_waits_for_its_predecessor_without_holding_the_run(self, hooks: Hooked) -> None:
        api, run_id = hooks.api, hooks.api.new_run()
        first = api.start(run_id)
        for step in (10, 20):
            (api.settings.storage / "runs" / run_id / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
        api.report(first, checkpoint(1, 10, run_id), checkpoint(2, 20, run_id))
        api.lose(run_id, first.attempt_id)
        second = api.start(run_id)
        with ThreadPoolExecutor(1) as pool, Session(api.engine) as zombie:
            # The first attempt comes back and reports: its own row, then the run.
            zombie.execute(select(Attempt.id).where(Attempt.id == first.attempt_id).with_for_update(key_share=True))
            reporting = pool.submit(api.report, second, metrics(1, 11, train_loss=1.0))
            until_one_waits_for_a_lock(hooks)
            zombie.execute(select(Run.id).where(Run.id == run_id).with_for_update(key_share=True, nowait=True))
            zombie.commit()
            assert reporting.result().status_code == 200
        assert [each["valid_until_step"] for each in api.run(run_id)["attempts"]] == [10, None]


class TestAuthority:
    @pytest.mark.parametrize("token", ["", "wrong", "basin_max_token_with_enough_characters_2"])
    def test_only_the_attempts_own_token_reports(self, api: Api, trainer: Trainer, token: str) -> None:
        stranger = Trainer(attempt_id=trainer.attempt_id, token=token, claim={})
        assert api.report(stranger, progress(1, 1)).status_code == 401

    def test_the_token_of_another_attempt_does_not(self, api: Api, trainer: Trainer) -> None:
        other = api.start(api.new_run())
        mixed = Trainer(attempt_id=trainer.attempt_id, token=other.token, claim={})
        assert api.report(mixed, progress(1, 1)).status_code == 401

    def test_an_attempt_token_opens_nothing_else(self, api: Api, trainer: Trainer) -> None:
        assert api.http.get("/api/v1/runs", headers=bearer(trainer.token)).status_code == 401


class TestEffects:
    def test_progress_moves_the_run_and_renews_the_lease(self, api: Api, trainer: Trainer, run_id: str) -> None:
        report = progress(1, 5) | {"first_step_at": "2026-01-01T00:00:01Z"}
        api.report(trainer, report)
        run = api.run(run_id)
        assert (run["step"], run["total_steps"], run["epoch"], run["eta_seconds"]) == (5, 100, 0.5, 9.5)
        assert run["attempts"][0]["first_step_at"] == "2026-01-01T00:00:01Z"
        assert run["silent"] is False

    def test_latest_and_best_values_follow(self, api: Api, trainer: Trainer, run_id: str) -> None:
        for seq, (loss, top1) in enumerate([(2.0, 50.0), (1.0, 70.0), (1.5, 60.0)], start=1):
            api.report(trainer, metrics(seq, seq, train_loss=loss, validation_top1=top1, mine=3.0))
        latest = api.run(run_id)["latest"]
        assert latest["train_loss"] == {"step": 3, "value": 1.5, "best": 1.0, "best_step": 2}
        assert latest["validation_top1"] == {"step": 3, "value": 60.0, "best": 70.0, "best_step": 2}
        assert latest["mine"] == {"step": 3, "value": 3.0, "best": None, "best_step": None}

    def test_numbers_that_are_not_finite_are_kept_and_shown_as_null(
        self, api: Api, trainer: Trainer, run_id: str
    ) -> None:
        api.report(trainer, metrics(1, 1, train_loss="nan", alpha="inf"), metrics(2, 2, train_loss="-inf"))
        with api.engine.connect() as connection:
            values = connection.execute(text("SELECT value::text FROM metric_points ORDER BY value")).scalars().all()
        assert values == ["-Infinity", "Infinity", "NaN"]
        series = {s["name"]: s["values"] for s in api.get(f"/runs/{run_id}/metrics").json()["series"]}
        assert series == {"train_loss": [None, None], "alpha": [None]}
        assert api.run(run_id)["latest"]["train_loss"]["value"] is None

    def test_a_name_that_is_no_name_does_not_block_the_rest(self, api: Api, trainer: Trainer, run_id: str) -> None:
        answer = api.report(trainer, metrics(1, 1, **{"train_loss": 1.0, "x" * 65: 2.0, "a\0b": 3.0, "": 4.0}))
        assert answer.status_code == 200
        assert [s["name"] for s in api.get(f"/runs/{run_id}/metrics").json()["series"]] == ["train_loss"]

    def test_a_checkpoint_outside_the_runs_folder_is_refused_and_shown(
        self, api: Api, trainer: Trainer, run_id: str
    ) -> None:
        bad = checkpoint(1, 5, run_id) | {"path": f"runs/{run_id}/checkpoints/../../../etc"}
        assert api.report(trainer, bad).status_code == 200
        assert api.count("checkpoints") == 0
        assert "refused" in api.run(run_id)["notices"][0]["text"]

    def test_a_notice_said_again_by_the_next_attempt_is_shown_once(
        self, api: Api, trainer: Trainer, run_id: str
    ) -> None:
        notice = {"kind": "notice", "seq": 1, "code": "no-persistence", "text": "Reuse does not persist.", "step": 10}
        api.report(trainer, notice)
        api.lose(run_id, trainer.attempt_id)
        api.report(api.start(run_id), notice)
        assert [n["text"] for n in api.run(run_id)["notices"]] == ["Reuse does not persist."]

    def test_the_environment_is_kept_without_what_the_database_refuses(
        self, api: Api, trainer: Trainer, run_id: str
    ) -> None:
        environment = {"basin": "0.1.0", "python": "3.11", "host": "no\0de", "devices": ["cpu", "cpu"]}
        api.report(trainer, {"kind": "started", "seq": 1, "environment": environment}, writer="driver")
        shown = api.run(run_id)["attempts"][0]["environment"]
        assert (shown["host"], shown["devices"]) == ("no\N{REPLACEMENT CHARACTER}de", ["cpu", "cpu"])

    def test_the_end_is_only_noted_since_reconcile_ends_the_attempt(
        self, api: Api, trainer: Trainer, run_id: str
    ) -> None:
        ended = {"kind": "ended", "seq": 1, "reason": "loss_not_finite", "detail": "step 7: train_loss is nan"}
        assert api.report(trainer, ended, writer="driver").status_code == 200
        assert api.run(run_id)["status"] == "running"
        assert api.count("attempts", reported_reason="loss_not_finite", reported_detail=ended["detail"]) == 1

    def test_gzip_is_taken(self, api: Api, trainer: Trainer) -> None:
        batch = {"writer": "rank0", "reports": [{"at": "2026-01-01T00:00:00Z", **progress(1, 1)}]}
        answer = api.http.post(
            f"/api/v1/attempts/{trainer.attempt_id}/reports",
            headers=bearer(trainer.token) | {"Content-Encoding": "gzip", "Content-Type": "application/json"},
            content=gzip.compress(json.dumps(batch).encode()),
        )
        assert answer.json()["acknowledged"] == 1, answer.text

    def test_the_largest_batch_goes_in(self, api: Api, trainer: Trainer) -> None:
        values = {f"layer/{i}": 0.123456 for i in range(256)}
        answer = api.report(trainer, *[metrics(i, i, **values) for i in range(1, 501)])
        assert answer.json()["acknowledged"] == 500, answer.text
        assert api.count("metric_points") == 128_000


class TestCommands:
    def test_a_cancelled_run_tells_its_trainer_to_stop(self, api: Api, trainer: Trainer, run_id: str) -> None:
        api.cancel(run_id)
        answer = api.report(trainer, progress(1, 5)).json()
        assert answer == {"acknowledged": 1, "command": "stop", "superseded": False}

    def test_reports_of_an_attempt_that_ended_are_dropped(self, api: Api, trainer: Trainer, run_id: str) -> None:
        api.report(trainer, metrics(1, 1, train_loss=1.0))
        api.lose(run_id, trainer.attempt_id)
        answer = api.report(trainer, metrics(2, 2, train_loss=1.0)).json()
        assert answer == {"acknowledged": 1, "command": "stop", "superseded": True}
        assert api.count("metric_points") == 1
