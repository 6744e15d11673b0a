"""Celery's settings hang together."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.utils.imports import symbol_by_name
from pydantic import SecretStr

from api.doctor.diagnosis import COLLECT_TASK, EXAMINE_TASK
from api.runs.webhooks.delivering import LEASE_SECONDS
from api.runs.webhooks.notices import DELIVER_TASK
from api.runs.webhooks.sending import TIMEOUT_SECONDS
from api.settings import Settings
from worker import tasks
from worker.app import configuration
from worker.beat import SteadyScheduler
from worker.ray_jobs import CONNECT_SECONDS, SUBMIT_SECONDS
from worker.webhooks import BUDGET_SECONDS


def settings(reconcile_seconds: float) -> Settings:
    return Settings(
        database_url="postgresql+psycopg://basin@127.0.0.1/basin",
        broker_url="redis://127.0.0.1:6379/0",
        storage=Path("/storage"),
        secret=SecretStr("s" * 32),
        loopback=True,
        reconcile_seconds=reconcile_seconds,
    )


class TestConfiguration:
    def test_a_message_is_handed_out_again_only_after_its_task_must_have_ended(self) -> None:
        made = configuration(settings(2))
        visible_after = made["broker_transport_options"]["visibility_timeout"]
        assert made["task_soft_time_limit"] < made["task_time_limit"] < visible_after

    def test_a_slow_ray_does_not_run_into_the_time_limit(self) -> None:
        assert configuration(settings(2))["task_soft_time_limit"] > CONNECT_SECONDS + SUBMIT_SECONDS

    def test_sending_webhooks_ends_before_its_time_limit_and_a_lease_outlasts_a_request(self) -> None:
        assert configuration(settings(2))["task_soft_time_limit"] > BUDGET_SECONDS + TIMEOUT_SECONDS
        assert TIMEOUT_SECONDS < LEASE_SECONDS

    @pytest.mark.parametrize("seconds", [0.2, 2, 60])
    def test_beat_sends_reconcile_and_no_message_is_judged_by_two_clocks(self, seconds: float) -> None:
        made = configuration(settings(seconds))
        entry = made["beat_schedule"]["reconcile"]
        assert (entry["task"], entry["schedule"]) == ("reconcile", seconds)
        assert all("expires" not in each["options"] for each in made["beat_schedule"].values())
        assert symbol_by_name(made["beat_scheduler"]) is SteadyScheduler


def test_the_tasks_have_the_names_that_the_api_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIN_DATABASE_URL", "postgresql+psycopg://basin@127.0.0.1/basin")
    monkeypatch.setenv("BASIN_BROKER_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("BASIN_STORAGE", "/storage")
    monkeypatch.setenv("BASIN_LOOPBACK", "true")
    # Through the module: Celery's tasks read the settings as soon as anything, pytest too, looks at them.
    assert [task.name for task in (tasks.launch, tasks.cancel, tasks.reconcile)] == ["launch", "cancel", "reconcile"]
    assert tasks.deliver_webhooks.name == DELIVER_TASK
    assert (tasks.examine.name, tasks.collect_findings.name) == (EXAMINE_TASK, COLLECT_TASK)
    scheduled = {entry["task"] for entry in configuration(settings(2))["beat_schedule"].values()}
    assert scheduled == {"reconcile", "purge", "deliver_webhooks", tasks.collect.name, tasks.canary.name}
