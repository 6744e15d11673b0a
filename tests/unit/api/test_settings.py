"""Settings: every knob is a decision; what is unsafe outside loopback is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api.settings import Settings, settings_or_exit

GOOD: dict[str, Any] = {
    "database_url": "postgresql+psycopg://basin:a-long-word@db/basin",
    "broker_url": "redis://broker:6379/0",
    "storage": "/storage",
    "secret": "x" * 32,
}


def test_the_knobs_are_these() -> None:
    assert sorted(Settings.model_fields) == [
        "api_url", "archived_points_kept_days", "broker_url", "cancel_grace_seconds", "dashboard", "data_roots",
        "data_uploads", "data_uploads_leave_gib", "database_url", "default_gpu_hours_per_month",
        "default_max_queued_runs", "default_max_workers", "deleted_kept_hours", "events_kept_days",
        "hang_timeout_seconds", "join_timeout_seconds", "launch_timeout_seconds", "lease_interval_seconds",
        "lease_timeout_seconds", "log_format", "logs_kept_days", "loopback", "max_failures", "metrics_token",
        "orphans_kept_days", "postgres_bin", "preemption", "ray_address", "ray_token", "reconcile_seconds", "secret",
        "share_half_life_seconds", "silent_stop_seconds", "spool", "storage", "trainer_api_url", "trainer_python",
        "webhook_log_kept_days", "webhook_private_hosts",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"database_url": "sqlite:///x"}, "postgresql\\+psycopg"),
        ({"broker_url": "amqp://x"}, "redis://"),
        ({"storage": "relative"}, "absolute"),
        ({"secret": "short"}, "32 characters"),
        ({"lease_timeout_seconds": 20, "lease_interval_seconds": 10}, "twice"),
        ({"database_url": "postgresql+psycopg://basin:Basin@db/basin"}, "default password"),
        (
            {"webhook_private_hosts": "http://hooks.lab"},
            "'http://hooks.lab' must be a host name, an address or a network",
        ),
        ({"webhook_private_hosts": "hooks.lab,*.lab"}, "'\\*.lab' must be"),
        ({"webhook_private_hosts": "10.0.0.0/33"}, "'10.0.0.0/33' must be"),
        ({"data_roots": "data"}, "'data' must be the absolute path"),
        ({"data_roots": "/data:/more/../etc"}, "without `..`"),
        ({"data_roots": "/"}, "below /"),
    ],
)
def test_what_cannot_work_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Settings(**(GOOD | change))


def test_data_roots_come_with_colons_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(**GOOD).data_roots == ()
    for given, roots in (
        ("/data:/more", ("/data", "/more")),
        ("/data", ("/data",)),
        ("", ()),
        (":/data/:", ("/data",)),
    ):
        monkeypatch.setenv("BASIN_DATA_ROOTS", given)
        assert Settings(**GOOD).data_roots == tuple(map(Path, roots))


def test_the_default_secret_serves_loopback_only() -> None:
    without = {name: value for name, value in GOOD.items() if name != "secret"}
    assert Settings(**without, loopback=True).loopback
    with pytest.raises(ValidationError, match="BASIN_SECRET must be set"):
        Settings(**without)


def test_a_bad_environment_ends_the_program_with_a_sentence_and_without_the_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (GOOD | {"secret": "hunter2", "storage": "relative"}).items():
        monkeypatch.setenv(f"BASIN_{name.upper()}", value)
    with pytest.raises(SystemExit) as end:
        settings_or_exit()
    lines = str(end.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["BASIN_STORAGE", "BASIN_SECRET"]
    assert "hunter2" not in str(end.value)


def test_secrets_are_not_printed() -> None:
    assert "x" * 32 not in repr(Settings(**GOOD))
