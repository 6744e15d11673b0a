"""A look at every part of the installation: begun by an admin, answered part by part, each in its own time.

The API looks at itself and asks the Celery worker by a task; that one looks, asks Ray, and hands Ray a job for every
node that trains; what these found it takes from their logs when somebody asks how far it is. The rows are where the
answers meet, since the storage may be what is broken. A part that stays silent is a finding too.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send
from api.db.operations_tables import DiagnosisPart
from api.doctor.checks import MEND_STORAGE, control_checks
from api.errors import NotAllowed, NotFound
from api.runs.access import Caller
from api.runs.schemas import Answer
from api.settings import Settings
from trainer.contract.build import own_versions
from trainer.contract.diagnosis import PROBE_PREFIX
from trainer.contract.findings import Check, Finding, Found, failed, ok, run_checks

API, CELERY, STORAGE = "api", "celery worker", "storage"
SHARED_CHECK = "shared storage"
EXAMINE_TASK, COLLECT_TASK = "examine", "collect_findings"
CELERY_SECONDS = 60.0
"""For the task to come up in the queue, and its checks."""
NODE_SECONDS = 300.0
"""For a node's job to start, load torch some times and sum."""
STORAGE_SECONDS = 10.0
"""For each look at the storage, which may be on a server that is away."""

Transaction = Callable[[], AbstractContextManager[Session]]


class Diagnosis(Answer):
    """How far a look at every part is, and what it found so far."""

    id: str
    began_at: datetime
    complete: bool
    findings: list[Finding]
    """In the order of the parts: the API, the Celery worker, the nodes, and last who sees whose files."""
    outstanding: list[str]
    """Parts that have not answered yet."""


def begin(transaction: Transaction, engine: Engine, settings: Settings, caller: Caller) -> Diagnosis:
    """Looks at the API's side, and asks the others. Takes as long as the API's checks do. Raises NotAllowed."""
    _must_be_admin(caller)
    diagnosis_id = secrets.token_hex(8)
    shared = _of_storage(SHARED_CHECK, lambda: _probe(settings, diagnosis_id))
    findings = run_checks(API, [*control_checks(settings, engine), shared])
    with transaction() as session:
        session.add(
            DiagnosisPart(
                diagnosis_id=diagnosis_id,
                part=API,
                about={"versions": own_versions()},
                findings=[finding.model_dump(mode="json") for finding in findings],
            )
        )
        session.add_all(DiagnosisPart(diagnosis_id=diagnosis_id, part=part) for part in (CELERY, STORAGE))
        session.flush()
        after_commit_send(session, EXAMINE_TASK, diagnosis_id)
        return _view(diagnosis_id, _rows(session, diagnosis_id))


def look(transaction: Transaction, settings: Settings, caller: Caller, diagnosis_id: str) -> Diagnosis:
    """How far it is; has the Celery worker fetch what nodes have found. Raises NotAllowed, NotFound."""
    _must_be_admin(caller)
    with transaction() as session:
        rows = _rows(session, diagnosis_id)
        if not rows:
            raise NotFound(f"there is no diagnosis {diagnosis_id!r}: it is kept for a day; begin another one")
        _tell_silent_parts(session, rows)
        if any(row.findings is None and row.part not in (CELERY, STORAGE) for row in rows):
            after_commit_send(session, COLLECT_TASK, diagnosis_id)
        seen = _view(diagnosis_id, rows)
    if seen.outstanding != [STORAGE]:
        return seen
    # All others have answered. A storage that hangs must hold up neither the rows nor the thread, so it is looked at
    # without a lock. Of two that look at once the first one counts; only after that what was written there goes.
    last = run_checks(API, [_of_storage("files of others", lambda: _sees_all(settings, rows))])
    with transaction() as session:
        store(session, diagnosis_id, STORAGE, last)
    run_checks(API, [_of_storage("removal", lambda: _removed(settings, diagnosis_id))])
    with transaction() as session:
        return _view(diagnosis_id, _rows(session, diagnosis_id))


def store(session: Session, diagnosis_id: str, part: str, findings: Sequence[Finding]) -> None:
    """What a part found, once; does not commit."""
    session.execute(
        update(DiagnosisPart)
        .where(DiagnosisPart.diagnosis_id == diagnosis_id, DiagnosisPart.part == part, DiagnosisPart.findings.is_(None))
        .values(findings=[finding.model_dump(mode="json") for finding in findings])
    )


def probe_name(part: str) -> str:
    """The file that a part writes into the probes' folder."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-.") else "-" for letter in part)


def probe_folder(diagnosis_id: str) -> str:
    """Relative to the storage."""
    return f"{PROBE_PREFIX}{diagnosis_id}"


def _probe(settings: Settings, diagnosis_id: str) -> Found:
    folder = settings.storage / probe_folder(diagnosis_id)
    try:
        folder.mkdir()
        folder.chmod(0o777)  # Every part writes there, and they may be different users.
        (folder / API).write_text(diagnosis_id)
    except OSError as error:
        return failed(
            f"{folder} cannot be written ({error.strerror})",
            needed="a storage that the API may write to",
            remedy="Let the API's user write there (owner, mode, mount option)",
        )
    return ok("a file for the others to read was written")


def _sees_all(settings: Settings, rows: Sequence[DiagnosisPart]) -> Found:
    """Whether the API reads what those wrote who say that they wrote."""
    folder = settings.storage / probe_folder(rows[0].diagnosis_id)
    wrote = [row.part for row in rows if row.part not in (API, STORAGE) and _says_shared(row)]
    unseen = [part for part in wrote if not _holds(folder / probe_name(part), rows[0].diagnosis_id)]
    if unseen:
        return failed(
            f"the API does not see what {', '.join(unseen)} wrote to {settings.storage}",
            needed="one storage for API, Celery worker and trainers",
            remedy=f"Mount the same storage at {settings.storage} everywhere, or set BASIN_STORAGE to where it is",
        )
    return ok(f"the API sees what {', '.join(wrote) or 'nobody'} wrote")


def _removed(settings: Settings, diagnosis_id: str) -> Found:
    """What cannot be removed now is collected a day later."""
    shutil.rmtree(settings.storage / probe_folder(diagnosis_id), ignore_errors=True)
    return ok("removed")


def _of_storage(name: str, look: Callable[[], Found]) -> Check:
    return Check(name=name, look=look, seconds=STORAGE_SECONDS, if_it_breaks=MEND_STORAGE, if_it_hangs=MEND_STORAGE)


def _holds(path: Path, content: str) -> bool:
    try:
        return path.read_text() == content
    except OSError:
        return False


def _says_shared(row: DiagnosisPart) -> bool:
    return any(each["check"] == SHARED_CHECK and each["verdict"] == "ok" for each in row.findings or [])


def _tell_silent_parts(session: Session, rows: Sequence[DiagnosisPart]) -> None:
    at: datetime = session.execute(select(func.now())).scalar_one()
    for row in rows:
        patience = CELERY_SECONDS if row.part == CELERY else NODE_SECONDS
        if row.findings is not None or row.part == STORAGE or (at - row.began_at).total_seconds() < patience:
            continue
        silence = failed(
            f"no answer within {patience:g} s",
            needed="an answer",
            remedy="Start the Celery worker and look at its log"
            if row.part == CELERY
            else "Look at the node in Ray's dashboard: its job did not start or did not end",
        )
        row.findings = [_finding(row.part, "answers", silence).model_dump(mode="json")]
    session.flush()


def _rows(session: Session, diagnosis_id: str) -> list[DiagnosisPart]:
    """In the order of their parts. Locked: of two that look at once one tells of the silent ones."""
    found = select(DiagnosisPart).where(DiagnosisPart.diagnosis_id == diagnosis_id).with_for_update()
    order = {API: 0, CELERY: 1, STORAGE: 3}
    return sorted(session.scalars(found), key=lambda row: (order.get(row.part, 2), row.part))


def _view(diagnosis_id: str, rows: Sequence[DiagnosisPart]) -> Diagnosis:
    outstanding = [row.part for row in rows if row.findings is None]
    return Diagnosis(
        id=diagnosis_id,
        began_at=rows[0].began_at,
        complete=not outstanding,
        findings=[Finding.model_validate(each) for row in rows for each in row.findings or []],
        outstanding=outstanding,
    )


def _finding(part: str, check: str, found: Found) -> Finding:
    return Finding(part=part, check=check, **found.model_dump())


def _must_be_admin(caller: Caller) -> None:
    if caller.role != "admin":
        raise NotAllowed(f"your role is {caller.role}: only admins examine the installation; ask an admin")
