"""Metric catalogue, end reasons and model names: total, unique, current."""

from __future__ import annotations

import json

import pytest

from trainer.contract.ends import ENDS, EndReason
from trainer.contract.metrics import BY_NAME, CATALOGUE
from trainer.contract.model_names import is_model_name, model_names
from trainer.contract.reports import MetricsReport


def test_metric_names_are_unique() -> None:
    assert len(BY_NAME) == len(CATALOGUE)


def test_every_reason_has_an_end() -> None:
    assert set(ENDS) == set(EndReason)


MEANING: dict[str, tuple[str, bool, str]] = {
    "completed": ("succeeded", False, "nobody"),
    "cancelled_by_user": ("cancelled", False, "user"),
    "paused": ("cancelled", False, "nobody"),
    "superseded": ("cancelled", False, "nobody"),
    "time_limit": ("failed", False, "user"),
    "deadline_passed": ("failed", False, "user"),
    "spec_rejected_by_trainer": ("failed", False, "spec"),
    "never_fits": ("failed", False, "spec"),
    "data_unreadable": ("failed", False, "data"),
    "storage_not_shared": ("failed", False, "infrastructure"),
    "checkpoint_unreadable": ("failed", True, "infrastructure"),
    "loss_not_finite": ("failed", False, "spec"),
    "out_of_memory": ("failed", False, "spec"),
    "disk_full": ("failed", True, "infrastructure"),
    "gpu_held": ("failed", True, "infrastructure"),
    "trainer_crashed": ("failed", True, "trainer"),
    "trainer_hung": ("failed", True, "trainer"),
    "node_lost": ("failed", True, "infrastructure"),
    "ray_unreachable": ("failed", True, "infrastructure"),
    "launch_timed_out": ("failed", True, "infrastructure"),
}
"""Written out again, so that what is retried, and whose fault it is, changes only on purpose."""


def test_every_reason_means_what_was_decided() -> None:
    found = {str(reason): (end.status, end.retryable, end.fault) for reason, end in ENDS.items()}
    assert found == MEANING


@pytest.mark.parametrize("reason", list(EndReason))
def test_an_end_is_a_sentence_and_only_failures_are_retried(reason: EndReason) -> None:
    end = ENDS[reason]
    assert end.sentence.endswith(".")
    assert not end.retryable or end.status == "failed"


def test_the_model_names_are_those_of_the_installed_timm() -> None:
    import timm

    assert model_names() == frozenset(timm.list_models()), "run `make generate`"


def test_a_pretrained_tag_is_no_model() -> None:
    assert is_model_name("resnet18")
    assert not is_model_name("resnet18.a1_in1k")


def test_values_that_json_lacks_survive_the_wire() -> None:
    report = MetricsReport.model_validate(
        {"seq": 1, "at": "2026-01-01T00:00:00Z", "step": 3, "values": {"train_loss": "nan", "grad_norm": "inf"}}
    )
    wire = report.model_dump_json()
    assert json.loads(wire)["values"] == {"train_loss": "nan", "grad_norm": "inf"}
    back = MetricsReport.model_validate_json(wire).values
    assert back["train_loss"] != back["train_loss"]
    assert back["grad_norm"] == float("inf")
