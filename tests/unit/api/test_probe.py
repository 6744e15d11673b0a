"""A question that may hang is asked once at a time, and nobody waits for it longer than they have patience."""

from __future__ import annotations

import threading

import pytest

from api.runs.probe import Probe


class Question:
    """Answers with how often it was asked, once `may_answer` is set."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        self.may_answer.wait(30)
        return mine


def test_one_that_hangs_is_waited_for_with_patience_and_asked_once() -> None:
    question = Question()
    probe = Probe("test", question, fresh_seconds=0.0, patience_seconds=0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            probe.read()
    assert question.asked == 1
    question.may_answer.set()
    assert probe.ask().result(30) == 1
    assert probe.read() == 2, "the answer was old, so it was asked again"


def test_an_answer_is_shared_while_it_is_fresh() -> None:
    question = Question()
    question.may_answer.set()
    probe = Probe("test", question, fresh_seconds=3600.0, patience_seconds=30.0)
    assert [probe.read() for _ in range(3)] == [1, 1, 1]


def test_an_error_is_an_answer_too() -> None:
    def fails() -> None:
        raise OSError("away")

    probe = Probe("test", fails, fresh_seconds=3600.0, patience_seconds=30.0)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            probe.read()
