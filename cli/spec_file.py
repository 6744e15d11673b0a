"""Reads a training spec from a YAML or JSON file, applies `--set`, and checks it by the contract before it is sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cli.failure import ExitCode, Failure
from trainer.contract.problems import problems_of
from trainer.contract.spec import TrainingSpec

MAX_BYTES = 1_000_000


def read_spec(source: str, settings: Sequence[str] = ()) -> dict[str, Any]:
    """The spec as written, with `settings` ("path=value") applied and checked. Raises Failure (exit code 2)."""
    document = parse(read_text(source), source)
    for setting in settings:
        apply(document, setting)
    check(document)
    return document


def read_text(source: str) -> str:
    """The file's text; "-" is standard input."""
    try:
        raw = sys.stdin.buffer.read(MAX_BYTES + 1) if source == "-" else Path(source).read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise Failure(f"the spec {source} cannot be read: {error.strerror}", ExitCode.refused) from None
    except UnicodeDecodeError:
        raise Failure(f"the spec {source} must be UTF-8 text", ExitCode.refused) from None
    if len(raw) > MAX_BYTES:
        raise Failure(f"the spec {source} must not be larger than {MAX_BYTES:,} bytes", ExitCode.refused)
    return text


class Yaml(yaml.SafeLoader):
    """YAML in which 1e-3 is a number (PyYAML follows version 1.1, which wants a point in it) and a moment is text."""


Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
Yaml.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: node.value)


def parse(text: str, source: str) -> dict[str, Any]:
    """YAML, of which JSON is a part."""
    try:
        document = yaml.load(text, Loader=Yaml)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise Failure(f"the spec {source}{where} is not YAML or JSON: {what}", ExitCode.refused) from None
    if not isinstance(document, dict):
        raise Failure(
            f"the spec {source} must be a mapping of fields like `model:` and `optimizer:`, it is "
            f"{'empty' if document is None else type(document).__name__}",
            ExitCode.refused,
        )
    return document


def apply(document: dict[str, Any], setting: str) -> None:
    """Sets one field, e.g. "method.k=10"; the value is read as YAML."""
    path, sign, value = setting.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise Failure(f"--set {setting!r} must look like path=value, for example method.k=10", ExitCode.refused)
    try:
        parsed = yaml.load(value, Loader=Yaml) if value else ""
    except yaml.YAMLError:
        raise Failure(f"--set {setting!r}: the value is not YAML; put it in quotes", ExitCode.refused) from None
    inner = document
    for key in keys[:-1]:
        step = inner.setdefault(key, {})
        if not isinstance(step, dict):
            raise Failure(f"--set {setting!r}: `{key}` is {step!r} and has no fields", ExitCode.refused)
        inner = step
    inner[keys[-1]] = parsed


def check(document: dict[str, Any]) -> TrainingSpec:
    """By the contract; one line per field that is wrong."""
    try:
        json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise Failure(f"the spec holds a value that JSON lacks ({error}): put it in quotes", ExitCode.refused) from None
    try:
        return TrainingSpec.model_validate(document)
    except ValidationError as error:
        sentences = "\n".join(problem.sentence() for problem in problems_of(error))
        raise Failure(sentences, ExitCode.refused) from None
