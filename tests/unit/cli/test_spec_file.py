"""Specs as people write them: YAML and JSON, `--set`, and one sentence for each mistake."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.failure import ExitCode, Failure
from cli.spec_file import check, read_spec

GOOD = """
model: {name: resnet18}
optimizer: {name: sgd, lr: 1e-1, momentum: 0.9}
method: {name: looksam, k: 5, alpha: auto}
global_batch_size: 64
steps: 10
resources: {workers: 2}
"""


def written(folder: Path, text: str) -> str:
    file = folder / "spec.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def refused(*arguments: Any) -> str:
    with pytest.raises(Failure) as caught:
        read_spec(*arguments)
    assert caught.value.exit_code is ExitCode.refused
    return caught.value.sentence


def test_a_number_without_a_point_is_a_number(tmp_path: Path) -> None:
    assert read_spec(written(tmp_path, GOOD))["optimizer"]["lr"] == 0.1


def test_json_is_read_as_well(tmp_path: Path) -> None:
    text = """{"model": {"name": "resnet18"}, "optimizer": {"name": "adamw", "lr": 1e-3},
               "global_batch_size": 8, "steps": 1}"""
    assert check(read_spec(written(tmp_path, text))).optimizer.lr == 1e-3


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert read_spec("-")["steps"] == 10


def test_set_changes_and_adds_fields_without_defaults(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, GOOD), ["method.k=10", "schedule.name=constant", "optimizer.lr=2e-2"])
    assert (spec["method"]["k"], spec["schedule"], spec["optimizer"]["lr"]) == (10, {"name": "constant"}, 0.02)
    assert "precision" not in spec


@pytest.mark.parametrize("setting", ["method.k", "=3", "method..k=3"])
def test_a_set_without_a_path_or_a_value_is_refused(setting: str, tmp_path: Path) -> None:
    assert "must look like path=value" in refused(written(tmp_path, GOOD), [setting])


def test_a_set_below_a_plain_value_is_refused(tmp_path: Path) -> None:
    assert "`steps` is 10 and has no fields" in refused(written(tmp_path, GOOD), ["steps.x=1"])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("method.rho=-1", ["method.rho", "-1", ">= 0"]),
        ("method.alpha=-0.5", ["method.alpha", "-0.5", ">= 0"]),
        ("method.k=0", ["method.k", "0", ">= 1"]),
        ("global_batch_size=63", ["global_batch_size", "63", "resources.workers", "2"]),
        ("model.name=resnet18x", ["model.name", "resnet18x", "resnet18"]),
        ("speed=1", ["speed", "no such field"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(
    setting: str, told: list[str], tmp_path: Path
) -> None:
    sentence = refused(written(tmp_path, GOOD), [setting])
    assert sentence.count("\n") == 0
    assert all(word in sentence for word in told), sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("- a\n- b", "it is list"),
        ("model: {name: resnet18", "line 1"),
        ("model: {arguments: {since: !!binary aGVsbG8=}}", "JSON lacks"),
    ],
)
def test_what_is_no_mapping_of_fields_is_refused(text: str, told: str, tmp_path: Path) -> None:
    assert told in refused(written(tmp_path, text))


def test_a_moment_is_sent_as_it_is_written(tmp_path: Path) -> None:
    moment = "2999-01-01T08:00:00+01:00"
    assert read_spec(written(tmp_path, GOOD), [f"limits.deadline={moment}"])["limits"] == {"deadline": moment}
    assert "timezone" in refused(written(tmp_path, GOOD), ["limits.deadline=2999-01-01 08:00:00"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "nowhere.yaml cannot be read: No such file" in refused(str(tmp_path / "nowhere.yaml"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"\xff\xfe\x00")
    assert "must be UTF-8 text" in refused(str(file))
