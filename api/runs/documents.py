"""JSON from outside: what PostgreSQL cannot hold is found before it gets there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

from trainer.contract.problems import SpecProblem

MAX_DEPTH = 32


def unstorable(document: Any) -> SpecProblem | None:
    """The first place that JSONB refuses: a NUL, half a surrogate pair, a number not finite, too deep a tree."""
    for path, value in _leaves(document, (), 0):
        where = ".".join(path)
        if value is _TOO_DEEP:
            return SpecProblem(path=where, value="", allowed=f"must nest at most {MAX_DEPTH} deep", remedy="Flatten it")
        if isinstance(value, float) and not math.isfinite(value):
            return SpecProblem(path=where, value=str(value), allowed="must be finite", remedy="Give a finite number")
        if isinstance(value, str) and not _is_text(value):
            return SpecProblem(
                path=where, value=ascii(value)[:120], allowed="must be text without NUL or half characters",
                remedy="Remove that character",
            )  # fmt: skip
    return None


def sha256_of_document(document: Any) -> str:
    """Of the canonical form: key order and white space do not matter."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def storable_text(text: str) -> str:
    """`text` without what PostgreSQL refuses; for words that a trainer sends, which must not block its spool."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


_TOO_DEEP = object()


def _leaves(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    if depth > MAX_DEPTH:
        yield path, _TOO_DEEP
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, "(key)"), key
            yield from _leaves(inner, (*path, ascii(key)[1:-1][:64]), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(index)), depth + 1)
    else:
        yield path, value


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode("utf-8")
    except UnicodeEncodeError:
        return False
