"""The metric families hang together: names as Prometheus wants them, each explained to whoever operates this."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.runs.wait_kinds import KINDS
from api.telemetry import families
from api.telemetry.families import Family

OPERATIONS = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
UNITS = ("_seconds", "_bytes", "_ratio", "_watts", "_total", "_info")
COUNTS_OF_THINGS = {
    "basin_database_pool_connections", "basin_database_pool_limit", "basin_database_up",
    "basin_http_requests_in_progress", "basin_queue_depth", "basin_runs", "basin_slots", "basin_storage_up",
    "basin_stream_clients", "basin_webhook_deliveries_waiting",
}  # fmt: skip
"""Families without a unit: a new one is a decision."""


@pytest.mark.parametrize("name", families.basin_families())
def test_a_name_has_its_unit_at_the_end_and_a_row_in_the_documentation(name: str) -> None:
    assert re.fullmatch(r"basin(_[a-z]+)+", name)
    assert name in COUNTS_OF_THINGS or name.removesuffix("_max").endswith(UNITS), name
    assert f"`{name}`" in OPERATIONS


def test_the_documentation_names_no_series_that_is_not_there() -> None:
    named = set(re.findall(r"\b(?:basin|process|python)_[a-z_]+\b", OPERATIONS)) - {"basin_session"}
    assert named <= families.series_names() | set(families.basin_families())


def test_no_family_is_declared_twice_or_left_out() -> None:
    declared = [value for value in vars(families).values() if isinstance(value, Family)]
    assert sorted(family.name for family in declared) == sorted(f.name for f in (*families.HELD, *families.FROM_ROWS))
    assert len(families.basin_families()) == len(set(families.basin_families()))


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for family in (*families.HELD, *families.FROM_ROWS):
        assert (family.kind == "counter") == family.name.endswith("_total"), family.name


def test_rules_may_write_the_names_that_prometheus_stores() -> None:
    names = families.series_names()
    for suffix in ("_bucket", "_count", "_sum"):
        assert f"basin_http_request_duration_seconds{suffix}" in names
    assert {"basin_reports_total", "basin_queue_depth", "process_resident_memory_bytes", "python_info"} <= names
    assert "basin_http_request_duration_seconds" not in names, "a histogram has no series of its bare name"


def test_lease_ages_are_a_histogram_of_the_moment() -> None:
    samples = {
        (sample.name, sample.labels.get("le")): sample.value for sample in families.lease_ages([4, 11, 700]).samples
    }
    assert samples["basin_lease_age_seconds_bucket", "5"] == 1
    assert samples["basin_lease_age_seconds_bucket", "20"] == samples["basin_lease_age_seconds_bucket", "600"] == 2
    assert samples["basin_lease_age_seconds_bucket", "+Inf"] == samples["basin_lease_age_seconds_gcount", None] == 3
    assert samples["basin_lease_age_seconds_gsum", None] == 715


def test_every_kind_of_waiting_is_explained() -> None:
    assert all(f"`{kind}`" in OPERATIONS for kind in KINDS)
