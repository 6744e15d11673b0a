"""What FastAPI cannot see of the API's description: live events, the stored spec, that errors are problem+json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from api.runs.schemas import MetricsChange, Problem, TimelineEvent

REFERENCE = "#/components/schemas/{model}"


def complete_schema(app: FastAPI) -> None:
    """Makes `app.openapi()` the whole description."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = plain()
        _add_live_events(document)
        _name_the_stored_spec(document)
        _errors_are_problems(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add_live_events(document: dict[str, Any]) -> None:
    models = [(MetricsChange, "serialization"), (TimelineEvent, "serialization")]
    _, definitions = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
    schemas = document["components"]["schemas"]
    schemas |= definitions["$defs"]
    # FastAPI's own shape of a 422, which no answer of ours has.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _name_the_stored_spec(document: dict[str, Any]) -> None:
    """A stored spec is shown as it is, even if this version would refuse it; its type is the spec's all the same."""
    properties = document["components"]["schemas"]["Run"]["properties"]
    properties["spec"] = {
        "$ref": REFERENCE.format(model="TrainingSpec"),
        "description": properties["spec"]["description"],
    }


def _errors_are_problems(document: dict[str, Any]) -> None:
    reference = REFERENCE.format(model=Problem.__name__)
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                for media_type in list(content):
                    if content[media_type].get("schema", {}).get("$ref") == reference:
                        content["application/problem+json"] = content.pop(media_type)
