"""Alerts and dashboard of the profile `metrics` ask only for what the API tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from api.runs.wait_kinds import KINDS
from api.telemetry.families import series_names
from tests.unit.deploy.rendered import ROOT
from trainer.contract.ends import EndReason

FOLDER = ROOT / "docker/metrics"
OF_PROMETHEUS = {"up"}
"""What Prometheus itself adds for each target."""


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "basin.json").read_text())["panels"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "query"), [*queries()])
def test_a_query_is_promql_and_names_metrics_that_exist(where: str, query: str) -> None:
    named: set[str] = set()

    def visit(expression: Any) -> bool:
        if isinstance(expression, promql_parser.VectorSelector):
            named.add(str(expression.name))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    assert named, where
    assert named <= series_names() | OF_PROMETHEUS, where


@pytest.mark.parametrize(
    ("metric", "known"),
    [("basin_runs_ended_total", {reason.value for reason in EndReason}), ("basin_queue_\\w+", set(KINDS))],
)
def test_reasons_that_rules_name_are_reasons_of_ours(metric: str, known: set[str]) -> None:
    pattern = rf'{metric}\{{[^}}]*reason(?:=|!=|=~|!~)"([^"]*)"'
    named = [reason for rule in rules() for reason in re.findall(pattern, rule["expr"])]
    assert named
    assert {part for names in named for part in names.split("|")} <= known


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["remedy"], rule["alert"]


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    compose = (ROOT / "docker-compose.yml").read_text()
    targets = {
        target
        for job in prometheus["scrape_configs"]
        for config in job["static_configs"]
        for target in config["targets"]
    }
    assert "api:8000" in targets
    for path in prometheus["rule_files"]:
        assert f":{path}:ro" in compose
    source = yaml.safe_load((FOLDER / "datasource.yml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    folder = yaml.safe_load((FOLDER / "dashboards.yml").read_text())["providers"][0]["options"]["path"]
    assert f":{folder}/basin.json:ro" in compose
