"""Runs under faults, one after the other: which fault, on which seed, at which moment is decided by a number."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from tests.integration.faults import verdict
from tests.integration.faults.ground import Ground
from tests.integration.faults.kinds import Kind
from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Points

STEPS = 120
GLOBAL_BATCH_SIZE = 128
"""Half of other runs', so that sixty of these take less time; they still last long enough to be struck."""
SEEDS = 3
"""Each costs an undisturbed run."""
FIRST_STEP, LAST_STEP = 2, 60
"""Between which a fault strikes; some past a checkpoint (every 20), some before the first. A step is seen a moment
late, and the run must still train then: so not in its last half."""
LONGEST_DELAY = 6.0
"""Seconds after the submission, for a fault that need not wait for training: it strikes in the launch, too."""


@dataclass(frozen=True)
class Moment:
    """Either so many seconds after the submission, or at a step."""

    seconds: float | None = None
    step: int | None = None

    def __str__(self) -> str:
        return f"step {self.step}" if self.step is not None else f"{self.seconds:.1f} s after the submission"


@dataclass(frozen=True)
class Case:
    """The n-th time of a kind; everything else follows from these two."""

    kind: Kind
    number: int

    @property
    def chance(self) -> random.Random:
        return random.Random(f"{self.kind.name}:{self.number}")

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.number % SEEDS

    @property
    def moment(self) -> Moment:
        chance = self.chance
        if self.kind.while_training or chance.random() < 0.5:
            return Moment(step=chance.randint(FIRST_STEP, LAST_STEP))
        return Moment(seconds=round(chance.uniform(0.0, LONGEST_DELAY), 1))


@dataclass(frozen=True)
class Outcome:
    kind: str
    number: int
    seed: int
    moment: str
    attempts: int
    seconds: float
    violations: list[str]

    def row(self) -> dict[str, Any]:
        return asdict(self)


def disturbed_run(seed: int) -> dict[str, Any]:
    return digits_run(steps=STEPS, seed=seed, global_batch_size=GLOBAL_BATCH_SIZE)


@dataclass(frozen=True)
class Undisturbed:
    """What a run of a seed comes to when nothing happens."""

    points: Points
    weights: dict[str, Tensor]


class Campaign:
    """All cases on one ground. Undisturbed runs are made once for each seed."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._undisturbed: dict[int, Undisturbed] = {}

    def undisturbed(self, seed: int) -> Undisturbed:
        if seed not in self._undisturbed:
            watch = self._ground.watch
            run_id = watch.submit(disturbed_run(seed))
            run = watch.until_ended(run_id)
            assert run["status"] == "succeeded", run
            points = watch.points(run_id)
            assert [step for step, _ in points["train_loss"]] == list(range(1, STEPS + 1))
            self._undisturbed[seed] = Undisturbed(points, verdict.final_weights(self._ground.storage, run_id, STEPS))
            verdict.forget(self._ground, run_id)
        return self._undisturbed[seed]

    def play(self, case: Case) -> Outcome:
        """One run with its fault. Raises whatever keeps it from being played to its end; its run is ended then."""
        expected = self.undisturbed(case.seed)
        watch, began = self._ground.watch, time.monotonic()
        strike = case.kind.ready(self._ground, case.chance)
        run_id: str | None = None
        try:
            try:
                run_id = watch.submit(disturbed_run(case.seed))
                self._wait_for(case.moment, run_id)
                strike.now(run_id)
                run = watch.until_ended(run_id)
            finally:
                strike.undo()
        except Exception:
            if run_id is not None:
                self._abandon(run_id)
            raise
        found = verdict.of_the_end(self._ground, case.kind, run)
        found += verdict.different(watch.points(run_id), expected.points)
        if run["status"] == "succeeded":
            weights = verdict.final_weights(self._ground.storage, run_id, STEPS)
            found += verdict.different_weights(weights, expected.weights)
        found += verdict.left_over(self._ground)
        verdict.forget(self._ground, run_id)
        return Outcome(
            kind=case.kind.name, number=case.number, seed=case.seed, moment=str(case.moment),
            attempts=len(run["attempts"]), seconds=round(time.monotonic() - began, 1), violations=found,
        )  # fmt: skip

    def _abandon(self, run_id: str) -> None:
        """So that a run whose case broke off takes neither slots nor room on the disk from the next ones."""
        with suppress(Exception):  # what broke the case may also stand in the way of this
            self._ground.watch.cancel(run_id)
            self._ground.watch.until_ended(run_id)
            verdict.forget(self._ground, run_id)

    def _wait_for(self, moment: Moment, run_id: str) -> None:
        if moment.step is not None:
            self._ground.watch.until_step(run_id, moment.step)
        else:
            assert moment.seconds is not None
            time.sleep(moment.seconds)
