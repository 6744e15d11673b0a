"""The Ray job of an attempt: `python -m trainer.main`. Claims the attempt, runs its worker group, reports how it ended.

Loads no torch. Without a claim nothing is trained: of two drivers of one attempt the second is refused and leaves.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from trainer import logs
from trainer.api_client import ApiClient, Refused, Unreachable
from trainer.assignment import Assignment
from trainer.contract.ends import EndReason
from trainer.contract.problems import problems_of
from trainer.contract.reports import Claim, ClaimRequest, LaunchPayload, Writer
from trainer.contract.spec import TrainingSpec, stored_spec
from trainer.errors import TrainerError
from trainer.group_messages import RankEnd
from trainer.leftovers import deliver_leftovers
from trainer.reporter import DriverReporter
from trainer.traces import UNTRACED, JobTrace

log = logging.getLogger(__name__)

BEGAN_AT = datetime.now(UTC)

LAUNCH_VARIABLE = "BASIN_LAUNCH"
CLAIM_SECONDS = 900.0
"""How long an API that does not answer is waited for: an outage of ours must not cost the run its place."""
MAX_BACK_OFF_SECONDS = 5.0
TERMINATED_DELIVER_SECONDS = 0.5
"""For the last reports after SIGTERM, when Ray is about to kill."""
OK, FAILED, MISUSED = 0, 1, 2
TAKEN = 409
PROOF_FILE = ".basin-storage"
MAX_PROOF = 64


def main() -> int:
    """Returns the exit status: 0 also where another process holds the attempt; 1 where the run failed."""
    try:
        payload = LaunchPayload.model_validate_json(os.environ.get(LAUNCH_VARIABLE, ""))
        api = ApiClient(payload.api_url, payload.attempt_id)
    except ValidationError as error:
        problem = problems_of(error)[0].sentence()
        return _say(
            f"{LAUNCH_VARIABLE} must hold what Basin's worker put there ({problem}); runs are started by `basin`."
        )
    except ValueError as error:
        return _say(str(error))
    logs.log_to_stderr(logs.line_form(payload.log_format, {"attempt_id": payload.attempt_id, "process": "driver"}))
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    trace = JobTrace.begin(payload, BEGAN_AT)
    with ThreadPoolExecutor(1, thread_name_prefix="claim") as beside:
        claiming = beside.submit(claim, api, payload, terminated, trace)
        connected = _connect_to_ray()  # takes a second, which the claim does not have to wait for
        signal.signal(signal.SIGTERM, lambda *_: terminated.set())  # Ray sets its own
        status = _follow(claiming, connected, payload, terminated)
    _disconnect_from_ray()
    trace.end(failed=status != OK)
    return status


def claim(api: ApiClient, payload: LaunchPayload, terminated: threading.Event, trace: JobTrace = UNTRACED) -> Claim:
    """Claims the attempt for this process, again while the API does not answer. Raises Refused or Unreachable."""
    with trace.part("claim") as traceparent:
        return _claim(api, payload, terminated, traceparent)


def _claim(api: ApiClient, payload: LaunchPayload, terminated: threading.Event, traceparent: str | None) -> Claim:
    process_id = secrets.token_hex(16)
    deadline, pause_seconds = time.monotonic() + CLAIM_SECONDS, 0.1
    while True:
        # Read at each try: a storage that was away for the API may have been away here too.
        request = ClaimRequest(process_id=process_id, storage_proof=storage_proof(Path(payload.storage)))
        try:
            return api.claim(payload.launch_code, request, traceparent=traceparent)
        except Unreachable as error:
            if terminated.is_set() or time.monotonic() > deadline:
                raise
            log.warning("The attempt could not be claimed yet: %s", error)
        finally:
            api.close()
        terminated.wait(pause_seconds)
        pause_seconds = min(MAX_BACK_OFF_SECONDS, 2 * pause_seconds)


def storage_proof(storage: Path) -> str | None:
    """What this node reads in the storage's probe file; None if it cannot: the API then says that it is not shared."""
    try:
        return (storage / PROOF_FILE).read_text(encoding="utf-8").strip()[:MAX_PROOF]
    except (OSError, UnicodeDecodeError):
        return None


def _follow(
    claiming: Future[Claim], connected: Exception | None, payload: LaunchPayload, terminated: threading.Event
) -> int:
    try:
        assignment = Assignment.of(payload, claiming.result())
    except Refused as refusal:
        if refusal.status == TAKEN:
            log.info("Another process holds the attempt: %s", refusal)
            return OK
        return _say(f"The attempt could not be claimed: {refusal}", FAILED)
    except Unreachable as error:
        return _say(f"The attempt could not be claimed; the API at {payload.api_url} does not answer: {error}", FAILED)
    with suppress(OSError):  # then Ray's own log of the job has to do
        form = logs.line_form(assignment.log_format, assignment.log_fields("driver"))
        logs.log_driver(assignment.log_path("driver"), form)
    log.info("The driver's program began at %s", BEGAN_AT.isoformat())
    log.info("Attempt %d of run %s is claimed.", assignment.claim.attempt_number, assignment.claim.run_id)
    reporter = DriverReporter(assignment)
    end = _train(assignment, reporter, connected, terminated)
    return _report(end, assignment, reporter, terminated)


def _train(
    assignment: Assignment, reporter: DriverReporter, connected: Exception | None, terminated: threading.Event
) -> RankEnd:
    try:
        spec = stored_spec(assignment.claim.spec)
    except ValidationError as error:
        detail = " ".join(problem.sentence() + "." for problem in problems_of(error))
        return RankEnd(rank=0, reason=EndReason.spec_rejected_by_trainer, detail=detail)
    if connected is not None:
        return RankEnd(rank=0, reason=EndReason.ray_unreachable, detail=f"The driver could not join Ray: {connected}")
    try:
        return _run_group(assignment, spec, reporter, terminated)
    except Exception as error:  # ours or Ray's: it ends the attempt, with a sentence
        log.exception("The driver failed")
        return RankEnd(
            rank=0, reason=EndReason.trainer_crashed, detail=f"The driver failed: {type(error).__name__}: {error}"
        )


def _run_group(
    assignment: Assignment, spec: TrainingSpec, reporter: DriverReporter, terminated: threading.Event
) -> RankEnd:
    from trainer.datasets import presence
    from trainer.datasets.roots import DataRoots

    try:
        presence.check(spec.data, DataRoots(assignment.claim.data_roots))
    except TrainerError as error:  # before a slot is taken: the ranks would find the same
        return RankEnd(rank=0, reason=error.reason, detail=error.detail)
    from trainer.supervision import supervise
    from trainer.worker_group import WorkerGroup

    return supervise(WorkerGroup(assignment, spec.resources), reporter, terminated)


def _report(end: RankEnd, assignment: Assignment, reporter: DriverReporter, terminated: threading.Event) -> int:
    """The last words: rank 0's reports first, if it left any, then how the attempt ended."""
    log.info("The attempt ended: %s. %s", end.reason, end.detail)
    patience_seconds = TERMINATED_DELIVER_SECONDS if terminated.is_set() else 2 * assignment.deliver_seconds
    if end.reason is EndReason.superseded:
        assignment.spool_path(Writer.rank0).unlink(missing_ok=True)
        reporter.close(patience_seconds=0.0)
        return OK
    deadline = time.monotonic() + patience_seconds
    try:
        complete = deliver_leftovers(assignment, Writer.rank0, deadline)
        reporter.ended(end.reason, end.detail)
        left = reporter.close(patience_seconds=max(0.0, deadline - time.monotonic()) if complete else 0.0)
    except OSError as error:
        log.error("The last reports could be neither delivered nor stored: %s", error)
        return FAILED
    if left:
        log.warning("%d reports could not be delivered; they are stored and taken in later.", left)
    return FAILED if end.is_failure else OK


def _connect_to_ray() -> Exception | None:
    """Joins the cluster; returns what went wrong instead of raising, so that it can be reported after the claim."""
    from trainer.worker_group import connect

    try:
        connect()
    except Exception as error:
        log.exception("Ray could not be joined")
        return error
    return None


def _disconnect_from_ray() -> None:
    from trainer.worker_group import disconnect

    disconnect()


def _say(sentence: str, status: int = MISUSED) -> int:
    print(sentence, file=sys.stderr)
    return status


def _leave(status: int) -> NoReturn:
    """Ends the process without the interpreter's clean-up, a second in which Ray would hold the run's slots."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main())
