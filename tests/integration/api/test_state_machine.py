"""The life of runs against a model of it, on a real PostgreSQL: 10,000 random steps by people, trainers and the worker.

The model is written from the design page and knows nothing of `api.runs.status.MOVES`. After every step the row shows
what the model says, and the timeline holds exactly one status event more for each move, from and to the right status.
Random steps rarely take each legal move, so each is also made once on purpose.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from api.db.tables import Attempt, Event, Run, User
from api.runs.access import Caller
from api.runs.cancel import cancel
from api.runs.pause import request_pause, resume
from api.runs.status import RunStatus, move
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import EndAttempt, Limits
from worker.endings import end_attempt
from worker.limits import end_overdue, tell_limit

STEPS = 10_000
STEPS_OF_ONE = 50
LIMITS = Limits(lease_timeout=60, silent_stop=600, cancel_grace=120, launch_timeout=180, max_failures=2)

LEGAL = {
    "queued": {"launching", "paused", "cancelled", "failed"},
    "launching": {"running", "queued", "pausing", "failed", "cancelling"},
    "running": {"succeeded", "failed", "queued", "pausing", "cancelling"},
    "pausing": {"paused", "queued", "succeeded", "failed", "cancelling"},
    "paused": {"queued", "cancelled", "failed"},
    "cancelling": {"cancelled", "succeeded"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}
OVER = {"succeeded", "failed", "cancelled"}
HAS_ATTEMPT = {"launching", "running", "pausing", "cancelling"}
MAY_HELP = {reason for reason in EndReason if ENDS[reason].retryable} | {
    EndReason.cancelled_by_user, EndReason.paused, EndReason.superseded,
}  # fmt: skip


class LifeOfRuns(RuleBasedStateMachine):
    """One run after the other; `self.path` is all that the model expects of the present one."""

    engine: ClassVar[Engine]
    caller: ClassVar[Caller]
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).steps -= 1  # What holds after a step is looked at once before the first.
        self.session = Session(self.engine)
        self.begin()

    def teardown(self) -> None:
        self.every_state_can_end()
        self.session.rollback()
        self.session.close()

    def begin(self) -> None:
        self.run = Run(
            id=secrets.token_hex(6), user_id=self.caller.user_id, name="one", request={}, request_sha256="",
            spec={"resources": {"workers": 1, "gpus_per_worker": 0}},
        )  # fmt: skip
        self.session.add(self.run)
        self.session.flush()
        self.path = ["queued"]
        self.requeues = False
        self.failures = 0
        self.attempts = 0
        self.limit: EndReason | None = None

    @property
    def status(self) -> str:
        return self.path[-1]

    def expect(self, moved: bool, to: str) -> None:
        assert moved
        assert to in LEGAL[self.status], f"the model itself would move from {self.status} to {to}"
        self.path.append(to)

    def bring_to(self, status: str) -> None:
        """From the beginning of its life, the short way. Without it most random lives end in the queue."""
        for event in WAYS[status]:
            event(self)
        assert self.status == status

    @initialize(status=st.sampled_from(sorted(set(LEGAL) - OVER)))
    def the_first_run_has_come_so_far(self, status: str) -> None:
        self.bring_to(status)

    # -- people ---------------------------------------------------------------------------------------------------

    @rule(preempted=st.booleans())
    def somebody_pauses(self, preempted: bool) -> None:
        did = request_pause(self.session, self.run, actor="user:max", preempted=preempted)
        if self.status == "queued" and not preempted:
            self.expect(did, "paused")
        elif self.status in ("launching", "running"):
            self.requeues = preempted
            self.expect(did, "pausing")
        else:
            takes_back = self.status == "pausing" and self.requeues and not preempted
            assert did == takes_back
            self.requeues = self.requeues and not takes_back

    @rule()
    def somebody_resumes(self) -> None:
        did = resume(self.session, self.run, actor="user:max")
        if self.status == "paused":
            self.expect(did, "queued")
        else:
            assert did == (self.status == "pausing" and not self.requeues)
            self.requeues = self.requeues or did

    @rule(at_once=st.booleans())
    def somebody_cancels(self, at_once: bool) -> None:
        hurried = self.run.cancel_at_once
        did = cancel(self.session, self.caller, self.run, at_once=at_once)
        if self.status in ("queued", "paused"):
            self.expect(did, "cancelled")
        elif self.status in ("launching", "running", "pausing"):
            self.expect(did, "cancelling")
        else:
            assert did == (self.status == "cancelling" and at_once and not hurried)

    # -- the worker and the trainer ---------------------------------------------------------------------------------

    @rule()
    def the_worker_launches(self) -> None:
        did = move(self.session, self.run, RunStatus.launching, actor="worker", text="Given its slots.")
        if self.status != "queued":
            assert not did
            return
        self.expect(did, "launching")
        self.attempts += 1
        self.session.add(
            Attempt(
                id=secrets.token_hex(12), run_id=self.run.id, number=self.attempts, world_size=1, gpus_per_worker=0,
                submission_id=f"run-{self.run.id}-{self.attempts}", placement={"node": 1},
            )
        )  # fmt: skip

    @rule()
    def a_trainer_claims(self) -> None:
        did = move(self.session, self.run, RunStatus.running, actor="trainer", text="Training started.")
        if self.status == "launching":
            self.expect(did, "running")
        else:
            assert not did

    @precondition(lambda self: self.status in HAS_ATTEMPT)
    @rule(reason=st.sampled_from(EndReason))
    def the_attempt_ends(self, reason: EndReason) -> None:
        attempt = self.session.scalars(
            select(Attempt).where(Attempt.run_id == self.run.id, Attempt.ended_at.is_(None))
        ).one()
        if self.limit is not None and reason in MAY_HELP:
            reason = self.limit  # What `judge` makes of it.
        end_attempt(self.session, attempt, EndAttempt(reason=reason), LIMITS)
        self.session.expire(attempt)
        if reason is EndReason.completed:
            if self.status == "launching":
                self.expect(True, "running")
            self.expect(True, "succeeded")
        elif self.status == "cancelling":
            self.expect(True, "cancelled")
        elif reason not in MAY_HELP:
            self.expect(True, "failed")
        elif self.status == "pausing":
            self.expect(True, "queued" if self.requeues else "paused")
            self.requeues = False
        else:
            self.failures += 1
            self.expect(True, "failed" if self.failures > LIMITS.max_failures else "queued")

    @precondition(lambda self: self.status in ("launching", "running", "pausing"))
    @rule(reason=st.sampled_from([EndReason.time_limit, EndReason.deadline_passed]))
    def a_limit_is_reached(self, reason: EndReason) -> None:
        tell_limit(self.session, self.run.id, self.attempts, reason)
        self.limit = self.limit or reason
        self.session.flush()
        assert self.run.limit_reached == self.limit

    @rule()
    def the_deadline_passes(self) -> None:
        self.session.flush()
        passed = text("now() - interval '1 second'")
        self.session.execute(update(Run).where(Run.id == self.run.id).values(deadline=passed))
        ended = end_overdue(self.session)
        if self.status in ("queued", "paused"):
            assert ended == [self.run.id]
            self.expect(True, "failed")
        else:
            assert ended == []
        self.session.execute(update(Run).where(Run.id == self.run.id).values(deadline=None))

    @rule(to=st.sampled_from(RunStatus))
    def somebody_tries_what_is_not_allowed(self, to: RunStatus) -> None:
        if to not in LEGAL[self.status]:
            reason = EndReason.completed if to in OVER else None
            assert not move(self.session, self.run, to, actor="nobody", text="No.", reason=reason)

    @precondition(lambda self: self.status in OVER)
    @rule(status=st.sampled_from(sorted(set(LEGAL) - OVER)))
    def another_run_begins(self, status: str) -> None:
        self.every_move_has_its_event()
        self.begin()
        self.bring_to(status)

    # -- what holds after every step ----------------------------------------------------------------------------------

    @invariant()
    def the_row_shows_what_the_model_says(self) -> None:
        type(self).steps += 1
        self.session.flush()
        self.session.refresh(self.run)
        run = self.run
        assert run.status == self.status
        assert run.requeues == self.requeues
        assert (run.reason is not None) == (run.ended_at is not None) == (self.status in OVER)
        if run.reason is not None:
            assert ENDS[EndReason(run.reason)].status == self.status
            assert ENDS[EndReason(run.reason)].sentence

    @invariant()
    def every_move_has_its_event(self) -> None:
        found = select(Event.data).where(Event.run_id == self.run.id, Event.kind == "status").order_by(Event.id)
        moves = [(data["from"], data["to"]) for data in self.session.scalars(found)]
        assert moves == list(zip(self.path, self.path[1:], strict=False))

    def every_state_can_end(self) -> None:
        """By one cancel and the end of its attempt, from wherever it is; and from then on nothing moves it."""
        cancel(self.session, self.caller, self.run)
        if self.run.status == RunStatus.cancelling:
            attempt = self.session.scalars(
                select(Attempt).where(Attempt.run_id == self.run.id, Attempt.ended_at.is_(None))
            ).one()
            end_attempt(self.session, attempt, EndAttempt(reason=EndReason.node_lost), LIMITS)
        self.session.refresh(self.run)
        ended = self.run.status
        assert ended in OVER
        for to in RunStatus:
            reason: Any = EndReason.completed if to in OVER else None
            assert not move(self.session, self.run, to, actor="nobody", text="No.", reason=reason)
        assert self.run.status == ended


def is_paused(life: LifeOfRuns) -> None:
    life.somebody_pauses(preempted=False)


def is_preempted(life: LifeOfRuns) -> None:
    life.somebody_pauses(preempted=True)


def is_cancelled(life: LifeOfRuns) -> None:
    life.somebody_cancels(at_once=False)


def ends(reason: EndReason) -> Callable[[LifeOfRuns], None]:
    return lambda life: life.the_attempt_ends(reason=reason)


LAUNCHES, CLAIMS = LifeOfRuns.the_worker_launches, LifeOfRuns.a_trainer_claims
CRASHES, COMPLETES = ends(EndReason.trainer_crashed), ends(EndReason.completed)
IS_REJECTED = ends(EndReason.spec_rejected_by_trainer)

WAYS: dict[str, tuple[Callable[[LifeOfRuns], None], ...]] = {
    "queued": (),
    "launching": (LAUNCHES,),
    "running": (LAUNCHES, CLAIMS),
    "pausing": (LAUNCHES, CLAIMS, is_paused),
    "paused": (is_paused,),
    "cancelling": (LAUNCHES, CLAIMS, is_cancelled),
}
"""How a run comes to each status that is not its end."""

MOVES_ON_PURPOSE: dict[tuple[str, str], tuple[Callable[[LifeOfRuns], None], ...]] = {
    ("queued", "launching"): (LAUNCHES,),
    ("queued", "paused"): (is_paused,),
    ("queued", "cancelled"): (is_cancelled,),
    ("queued", "failed"): (LifeOfRuns.the_deadline_passes,),
    ("launching", "running"): (CLAIMS,),
    ("launching", "queued"): (CRASHES,),
    ("launching", "pausing"): (is_paused,),
    ("launching", "failed"): (IS_REJECTED,),
    ("launching", "cancelling"): (is_cancelled,),
    ("running", "succeeded"): (COMPLETES,),
    ("running", "failed"): (IS_REJECTED,),
    ("running", "queued"): (CRASHES,),
    ("running", "pausing"): (is_preempted,),
    ("running", "cancelling"): (is_cancelled,),
    ("pausing", "paused"): (CRASHES,),
    ("pausing", "queued"): (LifeOfRuns.somebody_resumes, CRASHES),
    ("pausing", "succeeded"): (COMPLETES,),
    ("pausing", "failed"): (IS_REJECTED,),
    ("pausing", "cancelling"): (is_cancelled,),
    ("paused", "queued"): (LifeOfRuns.somebody_resumes,),
    ("paused", "cancelled"): (is_cancelled,),
    ("paused", "failed"): (LifeOfRuns.the_deadline_passes,),
    ("cancelling", "cancelled"): (CRASHES,),
    ("cancelling", "succeeded"): (COMPLETES,),
}
"""What makes each legal move, when a run has come to the status before it."""


@pytest.fixture
def lives(engine: Engine) -> type[LifeOfRuns]:
    with Session(engine) as session, session.begin():
        user = session.scalars(select(User).where(User.name == "max")).one()
        LifeOfRuns.caller = Caller(user_id=user.id, token_id=0, name=user.name, role="member")
    LifeOfRuns.engine = engine
    LifeOfRuns.steps = 0
    return LifeOfRuns


def test_each_legal_move_is_made_and_has_its_event(lives: type[LifeOfRuns]) -> None:
    assert MOVES_ON_PURPOSE.keys() == {(before, after) for before in LEGAL for after in LEGAL[before]}
    for (before, after), events in MOVES_ON_PURPOSE.items():
        life = lives()
        life.bring_to(before)
        for event in events:
            event(life)
        assert life.path[-2:] == [before, after]
        life.the_row_shows_what_the_model_says()
        life.every_move_has_its_event()
        life.teardown()


def test_ten_thousand_steps_agree_with_the_model(lives: type[LifeOfRuns]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lives,
        settings=settings(
            max_examples=3 * STEPS // (2 * STEPS_OF_ONE),  # a run that is over has fewer steps to offer
            stateful_step_count=STEPS_OF_ONE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert lives.steps >= STEPS
