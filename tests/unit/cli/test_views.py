"""The client's views against the API's own description: every field that is read is one that is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cli import views

OPENAPI: dict[str, Any] = json.loads((Path(__file__).parents[3] / "api" / "openapi.json").read_text(encoding="utf-8"))
SCHEMAS: dict[str, Any] = OPENAPI["components"]["schemas"]

ANSWERS: dict[type[BaseModel], str] = {
    views.RunView: "Run",
    views.RunPage: "RunPage",
    views.LatestValue: "LatestValue",
    views.StudyView: "Study",
    views.StudyPage: "StudyList",
    views.DryRun: "DryRun",
    views.BulkCancel: "CancelOutcome",
    views.BulkChange: "BulkOutcome",
    views.Refused: "BulkRefusal",
    views.LogTail: "LogTail",
}


@pytest.mark.parametrize(("view", "schema"), ANSWERS.items(), ids=lambda each: str(getattr(each, "__name__", each)))
def test_the_api_answers_every_field_that_is_read(view: type[BaseModel], schema: str) -> None:
    assert set(view.model_fields) <= set(SCHEMAS[schema]["properties"])


def test_a_whole_run_holds_spec_and_request() -> None:
    assert {"spec", "request", "attempts"} <= set(SCHEMAS["Run"]["properties"])


def test_the_statuses_are_the_apis() -> None:
    assert list(views.STATUSES) == SCHEMAS["RunStatus"]["enum"]
    assert set(views.STATUSES) >= views.TERMINAL


def test_what_is_sent_is_what_the_api_takes() -> None:
    sent = {"spec", "name", "study", "priority", "project", "visibility", "copied_from"}
    assert sent <= set(SCHEMAS["Submission"]["properties"])
    assert {"name", "study", "priority"} == set(SCHEMAS["RunEdit"]["properties"])
    assert set(SCHEMAS["RunIds"]["properties"]) == {"run_ids"}


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("post", "/runs", {"dry_run"}),
        ("get", "/runs", {"status", "study", "q", "limit", "cursor"}),
        ("patch", "/runs/{run_id}", set()),
        ("post", "/runs/cancel", set()),
        ("get", "/studies", {"q"}),
        ("get", "/runs/{run_id}/attempts/{number}/log", {"source", "lines", "after"}),
    ],
)
def test_the_api_has_the_routes_that_are_asked(method: str, path: str, asked: set[str]) -> None:
    route = OPENAPI["paths"][f"/api/v1{path}"][method]
    assert asked <= {parameter["name"] for parameter in route.get("parameters", []) if parameter["in"] == "query"}
