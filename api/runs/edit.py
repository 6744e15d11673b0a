"""Changing what a person may change of a run: its name, its study, and its place in the queue while it waits."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from api.db.engine import after_commit_send, publish
from api.db.tables import Event, Run
from api.errors import Conflict, Invalid
from api.runs.access import Caller, must_own
from api.runs.bodies import RunEdit
from api.runs.queue import queued_ids, tell_new_places
from api.runs.status import RunStatus
from trainer.contract.problems import SpecProblem


def edit(session: Session, caller: Caller, run: Run, wanted: RunEdit) -> None:
    """Applies an edit to a run whose row is locked, all of it or nothing; what is the same already changes nothing.

    Does not commit. Raises NotAllowed, Invalid where nothing is given, and Conflict for the priority of a run that
    does not wait.
    """
    must_own(caller, run, "edit")
    if not wanted.model_fields_set:
        raise Invalid.because(
            [
                SpecProblem(
                    path="body", value="", allowed="names nothing to change", remedy="Give name, study or priority"
                )
            ]
        )
    changes = _changes(run, wanted)
    if "priority" in changes and run.status != RunStatus.queued:
        raise Conflict(
            f"run {run.id} is {run.status}: its priority can be changed only while it is queued; leave `priority` out"
        )
    before = queued_ids(session) if "priority" in changes else []
    for field, value in changes.items():
        session.add(_event(caller, run, field, getattr(run, field), value))
        setattr(run, field, value)
    if "priority" in changes:
        run.wait_reason = None  # it was that of another place: the next pass says the new one
    session.flush()
    if "priority" in changes:
        tell_new_places(session, before, queued_ids(session))
        after_commit_send(session, "launch", run.id)
    if changes:
        publish(session, run.id)


def _changes(run: Run, wanted: RunEdit) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if wanted.name is not None:
        given["name"] = wanted.name
    if "study" in wanted.model_fields_set:
        given["study"] = wanted.study
    if wanted.priority is not None:
        given["priority"] = wanted.priority
    return {field: value for field, value in given.items() if value != getattr(run, field)}


def _event(caller: Caller, run: Run, field: str, before: Any, after: Any) -> Event:
    texts = {
        "priority": f"Priority changed from {before} to {after}.",
        "name": "Renamed.",
        "study": "Taken out of its study." if after is None else "Put into a study.",
    }
    return Event(
        run_id=run.id,
        kind="edited",
        actor=caller.actor,
        text=texts[field],
        data={"field": field, "from": before, "to": after},
    )
