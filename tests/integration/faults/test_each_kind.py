"""Each kind of fault once, in a run: it ends `succeeded`, with the points and weights of an undisturbed one.

`make faults` plays many more, at other moments.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import torch

from tests.integration.faults import verdict
from tests.integration.faults.__main__ import played
from tests.integration.faults.campaign import STEPS, Campaign, Case, Outcome, disturbed_run
from tests.integration.faults.ground import Ground
from tests.integration.faults.kinds import KINDS, kill_process_of, kill_rank
from tests.integration.faults.specs import CHECKPOINT_EVERY
from tests.integration.faults.watching import Points, Watch
from trainer import checkpoint

NUMBER = 0
"""One for all, so that they share the undisturbed run of its seed."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    prepared = Ground.prepare(tmp_path_factory.mktemp("ground"))
    try:
        yield prepared
    finally:
        prepared.clear()


@pytest.fixture(scope="module")
def campaign(ground: Ground) -> Campaign:
    return Campaign(ground)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_run_survives(kind, ground: Ground, campaign: Campaign) -> None:
    if kind.name == "full disk" and ground.disk is None:
        pytest.skip("only root can mount a small disk")
    assert campaign.play(Case(kind, NUMBER)).violations == []


def test_killing_rank_1_goes_on_from_the_last_checkpoint(ground: Ground, campaign: Campaign) -> None:
    """Past the second checkpoint, so that a run which began again at step 0 would be seen."""
    case = Case(next(kind for kind in KINDS if kind.ready is kill_rank), NUMBER)
    expected = campaign.undisturbed(case.seed)
    run_id = ground.watch.submit(disturbed_run(case.seed))
    ground.watch.until_step(run_id, 2 * CHECKPOINT_EVERY + 2)
    saved = max(checkpoint.step_of(path) or 0 for path in ground.storage.rglob(f"{run_id}/**/checkpoints/step-*"))
    kill_process_of(ground, run_id, 1)
    run = ground.watch.until_ended(run_id)
    assert verdict.of_the_end(ground, case.kind, run) == []
    first, second = run["attempts"]
    assert first["resume_step"] == 0
    # One more may have been written between the look and the kill.
    assert second["resume_step"] >= saved >= 2 * CHECKPOINT_EVERY
    weights = verdict.final_weights(ground.storage, run_id, STEPS)
    assert verdict.different_weights(weights, expected.weights) == []
    assert verdict.different(ground.watch.points(run_id), expected.points) == []
    verdict.forget(ground, run_id)


class TestTheVerdict:
    """What would be found if something were wrong."""

    POINTS: Points = {"train_loss": [(1, 2.0), (2, 1.0), (3, 0.5)]}  # noqa: RUF012 - only read

    @pytest.mark.parametrize(
        ("points", "found"),
        [
            ({"train_loss": [(1, 2.0), (3, 0.5)]}, "1 points lost [2], 0 doubled"),
            ({"train_loss": [(1, 2.0), (2, 1.0), (2, 1.0), (3, 0.5)]}, "0 points lost [], 1 doubled"),
            ({"train_loss": [(1, 2.0), (2, 1.0000001), (3, 0.5)]}, "another value at step 2"),
            ({}, "metrics differ: ['train_loss']"),
        ],
    )
    def test_names_what_differs(self, points: Points, found: str) -> None:
        [sentence] = verdict.different(points, self.POINTS)
        assert found in sentence

    def test_has_nothing_to_say_of_the_same(self) -> None:
        assert verdict.different(dict(self.POINTS), self.POINTS) == []

    def test_compares_weights_bit_by_bit(self) -> None:
        ones = {"a": torch.ones(2), "b": torch.ones(1)}
        assert verdict.different_weights({"a": torch.ones(2), "b": torch.ones(1)}, ones) == []
        assert verdict.different_weights({"a": torch.ones(2), "b": torch.ones(1) + 1e-7}, ones) != []
        assert verdict.different_weights({"a": torch.ones(2)}, ones) != []

    def test_finds_a_checkpoint_that_is_half_written_or_half_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Written and removed by the trainer itself, and looked at in the middle."""
        run, found = tmp_path / "runs" / "one", []
        checkpoint.save(Tiny(step=20), run, before_rename=lambda step, folder: found.extend(verdict.torn(tmp_path)))
        assert ".writing-step-00000020" in "".join(found)
        assert verdict.torn(tmp_path) == []
        with monkeypatch.context() as killed:
            killed.setattr(shutil, "rmtree", lambda path, **_: None)
            checkpoint.keep_newest(run, current_step=20, keep=0)
        [sentence] = verdict.torn(tmp_path)
        assert ".removing-step-00000020" in sentence


class TestACaseThatBreaksOff:
    """Anything that goes wrong in a case is its outcome; the campaign goes on with the next one."""

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (ProcessLookupError(3, "No such process"), "ProcessLookupError: [Errno 3] No such process"),
            (psutil.NoSuchProcess(7), "NoSuchProcess: process no longer exists (pid=7)"),
            (httpx.ConnectError("refused"), "ConnectError: refused"),
            (AssertionError("not seen"), "AssertionError: not seen"),
            (IndexError(), "IndexError"),
        ],
    )
    def test_is_a_violation_with_the_error_in_words(self, error: Exception, told: str) -> None:
        row = played(Broken(error), Case(KINDS[0], NUMBER))
        assert row["violations"] == [f"not played to its end: {told}"]
        assert (row["kind"], row["number"]) == (KINDS[0].name, NUMBER)


@dataclass(frozen=True)
class Tiny:
    """As much of a checkpoint as `checkpoint.save` needs."""

    step: int


class Broken(Campaign):
    def __init__(self, error: Exception) -> None:
        self._error = error

    def play(self, case: Case) -> Outcome:
        raise self._error


def test_a_submission_is_sent_again_until_it_is_answered_and_makes_one_run() -> None:
    """A lost answer and a database that is away are waited for; a refusal is not."""
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx.ReadError("lost")
        return httpx.Response(503) if len(keys) == 2 else httpx.Response(201, json={"id": "one"})

    with Watch("http://127.0.0.1:9", "token", transport=httpx.MockTransport(answer)) as watch:
        assert watch.submit({}) == "one"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    refusing = httpx.MockTransport(lambda request: httpx.Response(422, text="steps is -1"))
    with Watch("http://127.0.0.1:9", "token", transport=refusing) as watch, pytest.raises(AssertionError, match="-1"):
        watch.submit({})
