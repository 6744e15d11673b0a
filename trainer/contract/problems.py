"""Turns a validation error into sentences a person can act on: path, value, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

MAX_SHOWN = 120


class SpecProblem(BaseModel):
    """One field that is wrong. `value` is cut to 120 characters."""

    path: str
    value: str
    allowed: str
    remedy: str

    def sentence(self) -> str:
        shown = f" is {self.value}" if self.value else ""
        return f"{self.path or 'spec'}{shown}: {self.allowed}. {self.remedy}"


def problems_of(error: ValidationError, root: str = "") -> list[SpecProblem]:
    """All problems of a pydantic error, one per path, in the order of the fields. Paths begin with `root`."""
    return problems_in(error.errors(include_url=False), root)


def problems_in(items: Iterable[Mapping[str, Any]], root: str = "") -> list[SpecProblem]:
    """The same from the error's items, whose `loc` begins below `root`."""
    by_path: dict[str, SpecProblem] = {}
    for item in items:
        inner = ".".join(str(p) for p in _named(item["loc"]))
        problem = _problem(inner, item["type"], item.get("input"), item.get("ctx") or {}, item["msg"])
        path = ".".join(part for part in (root, problem.path) if part)
        problem = problem.model_copy(update={"path": path})
        if path in by_path:
            first = by_path[path]
            by_path[path] = first.model_copy(update={"allowed": f"{first.allowed}, or {problem.allowed}"})
        else:
            by_path[path] = problem
    return list(by_path.values())


# How the validators that look at several fields word their errors: "`field` value must ...: remedy".
_SEVERAL_FIELDS = re.compile(r"Value error, `([\w.]+)` (\S+) (must .+): (.+)")
_UNION_TAGS = {
    "constrained-float",
    "literal['auto','fresh_ratio']",
    "float",
    "int",
    "sgd",
    "adamw",
    "lamb",
    "lars",
    "lion",
    "muon",
    "none",
    "sam",
    "looksam",
    "layersam",
    "look_layersam",
    "digits",
    "image_folder",
    "torchvision",
    "huggingface",
    "webdataset",
}


def _named(loc: tuple[int | str, ...]) -> list[int | str]:
    """The path as a person writes it: pydantic adds the names of union members, which are no fields."""
    return [part for part in loc if not (isinstance(part, str) and (part in _UNION_TAGS or "[" in part))]


def _problem(path: str, kind: str, value: Any, ctx: dict[str, Any], message: str) -> SpecProblem:
    shown = "" if kind == "missing" or isinstance(value, dict) else repr(value)[:MAX_SHOWN]
    field = path.rsplit(".", 1)[-1]
    if kind == "extra_forbidden":
        return SpecProblem(
            path=path, value=shown, allowed="no such field", remedy=f"Remove `{field}` or mend its spelling"
        )
    if kind == "missing":
        return SpecProblem(path=path, value="", allowed="required", remedy=f"Give `{field}`")
    bounds = {
        "greater_than_equal": (">=", "ge"),
        "greater_than": (">", "gt"),
        "less_than_equal": ("<=", "le"),
        "less_than": ("<", "lt"),
    }
    if kind in bounds:
        sign, key = bounds[kind]
        return SpecProblem(path=path, value=shown, allowed=f"must be {sign} {ctx[key]}", remedy=f"Change `{field}`")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = str(ctx.get("discriminator", "name")).strip("'")
        allowed = f"`{tag}` must be one of {ctx['expected_tags']}" if "expected_tags" in ctx else f"`{tag}` is required"
        return SpecProblem(
            path=f"{path}.{tag}", value=repr(ctx["tag"]) if "tag" in ctx else "", allowed=allowed, remedy=f"Set `{tag}`"
        )
    if kind == "literal_error":
        return SpecProblem(path=path, value=shown, allowed=f"must be {ctx['expected']}", remedy=f"Change `{field}`")
    if kind == "value_error" and (told := _SEVERAL_FIELDS.match(message)):
        inner = f"{path}.{told[1]}" if path else told[1]
        return SpecProblem(path=inner, value=told[2], allowed=told[3], remedy=told[4][0].upper() + told[4][1:])
    text = message.removeprefix("Value error, ").removeprefix("Input should be ").strip()
    allowed = text if kind == "value_error" else f"must be {text}"
    return SpecProblem(
        path=path, value=shown, allowed=allowed, remedy=f"Change `{field}`" if field else "Mend the spec"
    )
