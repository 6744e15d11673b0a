"""How Ray's words are read; what Ray really says is checked against a real one in the integration tests."""

from __future__ import annotations

import pytest

from worker.ray_jobs import JobState, translated


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PENDING", JobState.pending),
        ("RUNNING", JobState.running),
        ("STOPPED", JobState.ended),
        ("SUCCEEDED", JobState.ended),
        ("FAILED", JobState.ended),
    ],
)
def test_each_status_of_ray_has_one_meaning(status: str, state: JobState) -> None:
    assert translated(status) is state


@pytest.mark.parametrize("status", ["", "RESTARTING", "failed"])
def test_a_status_that_is_not_known_holds_its_slots(status: str) -> None:
    assert not translated(status).is_over


def test_only_what_holds_no_slots_is_over() -> None:
    assert {state for state in JobState if state.is_over} == {JobState.ended, JobState.gone}
