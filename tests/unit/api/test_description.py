"""The API's description, and how mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from api import errors
from api.app import openapi_document
from api.openapi import FILE, rendered
from api.routes.problems import request_problems


def test_the_written_description_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == rendered(), "run `python -m api.openapi`"


def test_every_operation_has_a_summary_and_answers_errors_as_problems() -> None:
    document = openapi_document()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            if path.startswith("/api/"):
                assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_reference_leads_somewhere() -> None:
    document = openapi_document()
    schemas = document["components"]["schemas"]
    targets = {reference.removeprefix("#/components/schemas/") for reference in _references(document)}
    assert targets <= schemas.keys()
    assert {"TrainingSpec", "RunSummary", "MetricsChange", "TimelineEvent", "Problem"} <= schemas.keys()


def test_a_submission_comes_with_an_example_that_is_valid() -> None:
    from api.runs.bodies import Submission

    [example] = openapi_document()["components"]["schemas"]["Submission"]["examples"]
    assert Submission.model_validate(example).spec.method.name == "looksam"


def test_each_error_has_a_word_of_its_own() -> None:
    tree = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.BasinError)]
    slugs = [each.slug for each in tree]
    assert len(slugs) == len(set(slugs)) > 10


class TestRequestProblems:
    @staticmethod
    def paths(*items: dict[str, Any]) -> list[str]:
        filled = [{"msg": "must be so", "input": 1, "ctx": {"error": "x"}, **item} for item in items]
        return [problem.path for problem in request_problems(filled)]

    def test_paths_are_what_a_person_wrote(self) -> None:
        assert self.paths(
            {"type": "missing", "loc": ("body", "spec", "optimizer", "adamw", "lr")},
            {"type": "value_error", "loc": ("body", "spec")},
            {"type": "extra_forbidden", "loc": ("body", "colour")},
            {"type": "missing", "loc": ("query", "limit")},
            {"type": "missing", "loc": ("header", "idempotency-key")},
            {"type": "json_invalid", "loc": ("body", 3)},
        ) == ["spec.optimizer.lr", "spec", "colour", "Idempotency-Key", "query.limit", "body"]

    def test_a_missing_spec_is_named(self) -> None:
        [problem] = request_problems([{"type": "missing", "loc": ("body", "spec"), "msg": "", "input": {}}])
        assert problem.sentence() == "spec: required. Give `spec`"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)
