"""Writes docs/spec.md from the contract's own schema: `python -m cli.spec_reference`; part of `make generate`.

Every field, its type, what is allowed, its default and its docstring, so that the page cannot go stale: a test
compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.contract.spec import TrainingSpec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "spec.md"
HEAD = """# The training spec

Written from the contract by `make generate`; do not edit.

A spec is YAML or JSON. `basin spec init` prints a commented example, `basin spec check FILE` checks one, and the submit
page validates while you type. Unknown fields are refused. "Off" is always `null`. How to choose `rho`, `alpha` and `k`
is in [methods](methods.md).
"""
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def page() -> str:
    schema = TrainingSpec.model_json_schema()
    return HEAD + "\n" + "\n".join(_sections(schema)).rstrip() + "\n"


def _sections(schema: dict[str, Any]) -> Iterator[str]:
    """The whole spec first, then each section in the order of its fields, a variant after the other."""
    parts: dict[str, Any] = schema["$defs"]
    yield from _table("The whole spec", "", schema, parts)
    for name, field in schema["properties"].items():
        tag = field.get("discriminator", {}).get("propertyName")
        for part in _parts_of(field):
            title = f"{name}: {parts[part]['properties'][tag]['const']}" if tag else name
            yield from _table(f"`{title}`", parts[part].get("description", ""), parts[part], parts)
            for inner, inner_field in parts[part]["properties"].items():
                for nested in _parts_of(inner_field):
                    yield from _table(f"`{name}.{inner}`", parts[nested].get("description", ""), parts[nested], parts)


def _parts_of(field: dict[str, Any]) -> list[str]:
    options = [field, *field.get("oneOf", []), *field.get("anyOf", [])]
    return [option["$ref"].rsplit("/", 1)[-1] for option in options if "$ref" in option]


def _table(title: str, description: str, part: dict[str, Any], parts: dict[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    if description:
        yield f"{_cell(description)}\n"
    yield "| field | type | allowed | default | meaning |"
    yield "|---|---|---|---|---|"
    required = part.get("required", [])
    for name, field in part["properties"].items():
        default = "**required**" if name in required else _default(field)
        meaning = _cell(field.get("description", "")) or _see(field, parts)
        yield f"| `{name}` | {_type(field)} | {_allowed(field)} | {default} | {meaning} |"
    yield ""


def _type(field: dict[str, Any]) -> str:
    if _parts_of(field):
        return "section"
    if "prefixItems" in field:
        return f"list of {len(field['prefixItems'])} numbers"
    if "const" in field:
        return "word" if isinstance(field["const"], str) else "number"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"]))
    if "enum" in field:
        return "word"
    words = {"integer": "whole number", "string": "text", "boolean": "yes or no", "object": "mapping"}
    return words.get(str(field.get("type")), str(field.get("type", "")))


def _allowed(field: dict[str, Any]) -> str:
    options = field.get("anyOf", [field])
    told = []
    for option in options:
        if "const" in option:
            told.append(f"`{option['const']}`")
        elif "enum" in option:
            told += [f"`{word}`" for word in option["enum"]]
        else:
            bounds = [f"{sign} {option[key]:,}" for key, sign in BOUNDS.items() if key in option]
            told += [" and ".join(bounds)] if bounds else []
    return ", ".join(told)


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "each its own" if _parts_of(field) else ""
    default = field["default"]
    if _parts_of(field) and default is not None:
        word = default.get("source") or default.get("name") if isinstance(default, dict) else None
        return f"`{word}`" if word and "oneOf" in field else "below"
    return f"`{json.dumps(default)}`"


def _see(field: dict[str, Any], parts: dict[str, Any]) -> str:
    names = _parts_of(field)
    if "oneOf" in field:
        return "One of the sections below."
    return _cell(parts[names[0]].get("description", "")) if names else ""


def _cell(text: str) -> str:
    """One line; a bar would end the cell of a table, and angle brackets would be taken for HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
