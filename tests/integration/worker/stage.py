"""A stack without an API process: its rows, its broker, a real Ray, and jobs that stand for the trainer.

The jobs are shell scripts that Ray runs like any driver; what a trainer would say comes in through the API's own
domain functions, and time in which the API serves passes only when a test lets it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, select, text, update

from api.db.tables import Attempt, Event, Run, User
from api.runs.access import Caller
from api.runs.bodies import EXAMPLE_SPEC, RunEdit, Submission
from api.runs.cancel import cancel
from api.runs.claims import Refusal, claim
from api.runs.credentials import launch_code
from api.runs.edit import edit
from api.runs.intake import take_in
from api.runs.pause import request_pause, resume
from api.runs.removal import delete
from api.runs.storage import ensure_proof
from api.runs.submit import submit
from api.settings import Settings
from trainer.contract.ends import EndReason
from trainer.contract.reports import ClaimRequest, Report, Writer
from worker.connections import Connections
from worker.launch import stack_mark
from worker.ray_jobs import Job, JobState, RayJobs

Found = TypeVar("Found")

SLEEPS = "#!/bin/sh\necho waiting\nexec sleep 120\n"
CRASHES = "#!/bin/sh\necho no module named torch\nexit 3\n"
ENDS = "#!/bin/sh\nexit 0\n"


def until(look: Callable[[], Found | None], *, what: str, within: float = 90) -> Found:
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"not seen within {within} s: {what}"
        time.sleep(0.05)


def delete_for_good(ray: RayJobs, submission_id: str, *, within: float = 60) -> None:
    """Makes Ray forget a job that is over. One deleted too soon after its end Ray enters once more, as failed."""
    end, looks = time.monotonic() + within, 0
    while looks < 6:
        assert time.monotonic() < end, f"Ray still remembers {submission_id} after {within} s"
        if ray.job(submission_id).state is JobState.gone:
            looks += 1
        else:
            ray.delete(submission_id)
            looks = 0
        time.sleep(0.5)


class Stage:
    """Everything a test does to a stack, and everything it looks at."""

    def __init__(self, settings: Settings, trainer: Path) -> None:
        self.settings = settings
        self.connections = Connections(settings)
        self._trainer = trainer
        self.jobs_do(SLEEPS)
        self.api_serves(0)
        with self.connections.transaction() as session:
            user = User(name=f"person-{secrets.token_hex(4)}", role="member")
            session.add(user)
            session.flush()
            self._caller = Caller(user_id=user.id, token_id=0, name=user.name, role="member")

    def close(self) -> None:
        """Tells what still runs to end; nobody has to wait, since these jobs take no slots of Ray's."""
        with self.ray() as ray:
            for job in self.jobs().values():
                if not job.state.is_over:
                    ray.stop(job.submission_id)
        self.connections.close()

    # -- what people and trainers do ----------------------------------------------------------------------------------

    def jobs_do(self, script: str) -> None:
        self._trainer.write_text(script)
        self._trainer.chmod(0o755)

    def submit(
        self, *, workers: int = 1, gpus_per_worker: int = 0, priority: int = 0, limits: dict[str, Any] | None = None
    ) -> str:
        spec = {**EXAMPLE_SPEC, "resources": {"workers": workers, "gpus_per_worker": gpus_per_worker}}
        spec["global_batch_size"] = 64 * workers
        if limits is not None:
            spec["limits"] = limits
        with self.connections.transaction() as session:
            submission = Submission.model_validate({"spec": spec, "priority": priority})
            run, _ = submit(session, self._caller, submission, request={"spec": spec})
        return run.id

    def cancel(self, run_id: str, *, now: bool = False) -> None:
        with self.connections.transaction() as session:
            cancel(session, self._caller, session.get_one(Run, run_id, with_for_update=True), at_once=now)

    def pause(self, run_id: str, *, preempted: bool = False) -> bool:
        with self.connections.transaction() as session:
            run = session.get_one(Run, run_id, with_for_update=True)
            return request_pause(session, run, actor=self._caller.actor, preempted=preempted)

    def resume(self, run_id: str) -> bool:
        with self.connections.transaction() as session:
            return resume(session, session.get_one(Run, run_id, with_for_update=True), actor=self._caller.actor)

    def delete(self, run_id: str) -> None:
        with self.connections.transaction() as session:
            assert delete(session, self._caller, session.get_one(Run, run_id, with_for_update=True))

    def set_priority(self, run_id: str, priority: int) -> None:
        with self.connections.transaction() as session:
            edit(session, self._caller, session.get_one(Run, run_id, with_for_update=True), RunEdit(priority=priority))

    def claim(self, run_id: str) -> None:
        """As the first process of the newest attempt."""
        attempt = self.attempt(run_id)
        request = ClaimRequest(process_id=secrets.token_hex(16), storage_proof=ensure_proof(self.settings.storage))
        code = launch_code(self.settings.secret, attempt.id)
        with self.connections.transaction() as session:
            assert not isinstance(claim(session, self.settings, attempt.id, code, request), Refusal)

    def report(self, run_id: str, writer: Writer, *reports: Report) -> None:
        with self.connections.transaction() as session:
            take_in(session, session.get_one(Attempt, self.attempt(run_id).id), writer, reports)

    def leave_unsent(self, run_id: str, writer: Writer, *reports: Report) -> Path:
        """What a trainer that cannot reach the API stores at its exit."""
        attempt = self.attempt(run_id)
        folder = self.settings.storage / "runs" / run_id / "attempts" / str(attempt.number)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"unsent-{writer}.jsonl"
        stamp = f'{{"attempt_id":"{attempt.id}","writer":"{writer}",'
        path.write_text("".join(stamp + report.model_dump_json().removeprefix("{") + "\n" for report in reports))
        return path

    # -- time -----------------------------------------------------------------------------------------------------

    def api_serves(self, seconds: float) -> None:
        self.execute(
            "INSERT INTO service_clock (id, serving_seconds, ticked_at) VALUES (1, :s, now() + interval '1 day')"
            " ON CONFLICT (id) DO UPDATE SET serving_seconds = service_clock.serving_seconds + :s,"
            " ticked_at = excluded.ticked_at",  # It goes on ticking, however long the test takes.
            s=seconds,
        )

    def api_is_away(self, seconds: float) -> None:
        self.api_serves(0)
        self.execute("UPDATE service_clock SET ticked_at = now() - make_interval(secs => :s)", s=seconds)

    def wall_clock_moves(self, seconds: float) -> None:
        """For all moments that the worker compares with now."""
        for table, column in (
            ("attempts", "created_at"),
            ("attempts", "stop_requested_at"),
            ("runs", "cancel_requested_at"),
            ("runs", "pause_requested_at"),
            ("runs", "limit_reached_at"),
            ("runs", "deadline"),
            ("runs", "deleted_at"),
            ("runs", "not_before"),
            ("cluster_nodes", "seen_at"),
        ):
            self.execute(f"UPDATE {table} SET {column} = {column} - make_interval(secs => :s)", s=seconds)

    def execute(self, statement: str, **values: Any) -> None:
        with self.connections.transaction() as session:
            session.execute(text(statement), values)

    # -- what is there --------------------------------------------------------------------------------------------

    def ray(self) -> RayJobs:
        return self.connections.ray()

    def run(self, run_id: str) -> Run:
        with self.connections.transaction() as session:
            return session.get_one(Run, run_id)

    def attempts(self, run_id: str) -> list[Attempt]:
        with self.connections.transaction() as session:
            found = select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number)
            return list(session.scalars(found))

    def attempt(self, run_id: str) -> Attempt:
        return self.attempts(run_id)[-1]

    def events(self, run_id: str, kind: str) -> list[str]:
        with self.connections.transaction() as session:
            found = select(Event.text).where(Event.run_id == run_id, Event.kind == kind).order_by(Event.id)
            return list(session.scalars(found))

    def jobs(self) -> dict[str, Job]:
        """Those of this stack; the tests before it share the cluster."""
        with self.ray() as ray:
            mine = stack_mark(self.settings)
            return {key: job for key, job in ray.jobs().items() if job.metadata.get("stack") == mine}

    def until_job(self, submission_id: str, state: JobState, *, within: float = 120) -> Job:
        def look() -> Job | None:
            with self.ray() as ray:
                job = ray.job(submission_id)
            return job if job.state is state else None

        return until(look, what=f"job {submission_id} {state}", within=within)

    def forget_job(self, submission_id: str) -> None:
        """What a restart of Ray's head does to a job."""
        with self.ray() as ray:
            ray.stop(submission_id)
            until(lambda: ray.job(submission_id).state.is_over, what=f"{submission_id} over")
            delete_for_good(ray, submission_id)

    def end_reason(self, run_id: str, number: int) -> EndReason | None:
        with self.connections.transaction() as session:
            found = select(Attempt.reason).where(Attempt.run_id == run_id, Attempt.number == number)
            word = session.execute(found).scalar_one()
        return EndReason(word) if word else None

    def attempts_anywhere(self) -> int:
        with self.connections.transaction() as session:
            return session.execute(select(func.count()).select_from(Attempt)).scalar_one()

    def set_attempt(self, run_id: str, **values: Any) -> None:
        with self.connections.transaction() as session:
            session.execute(update(Attempt).where(Attempt.id == self.attempt(run_id).id).values(**values))
