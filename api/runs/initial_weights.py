"""Whether a run may start with the weights that its spec names: by a path or by another run's id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.runs.access import Caller, visible_to
from api.runs.data_roots import wrong_with
from trainer.contract.init_from import InitFrom
from trainer.contract.problems import SpecProblem


def initial_problems(
    session: Session, caller: Caller, init: InitFrom | None, data_roots: Sequence[Path], storage: Path | None
) -> list[SpecProblem]:
    """What is wrong with `model.init_from`; paths may lie under the data roots and `storage`, links followed.

    What belongs to a run must belong to one that the caller may see: its folder has no other guard than this.
    """
    if init is None:
        return []
    if init.run is not None:
        return [] if _may_see(session, caller, init.run) else [_hidden("run", init.run)]
    if init.path is None:
        return []
    field, path = init.path
    roots = [*data_roots, *([storage] if storage is not None else [])]
    if wrong := wrong_with(path, roots):
        return [_problem(field, path, wrong.allowed, wrong.remedy)]
    if any(not _may_see(session, caller, run_id) for run_id in _runs_of(path, roots, storage)):
        return [_hidden(field, path)]
    return []


def _runs_of(path: str, roots: Sequence[Path], storage: Path | None) -> set[str]:
    """Ids of runs in whose folders `path` may lie."""
    if storage is None:
        return set()
    written = [Path(path)] if os.path.isabs(path) else [root / path for root in roots]
    pairs = [(candidate, storage) for candidate in written]
    pairs += [(Path(os.path.realpath(candidate)), Path(os.path.realpath(storage))) for candidate in written]
    parts = [place.relative_to(root).parts for place, root in pairs if place.is_relative_to(root)]
    return {part[1] for part in parts if len(part) > 1 and part[0] == "runs"}


def _may_see(session: Session, caller: Caller, run_id: str) -> bool:
    return session.scalar(select(Run.id).where(Run.id == run_id, visible_to(caller))) is not None


def _hidden(field: str, value: str) -> SpecProblem:
    """A run that is private to somebody else is told like one that is not there."""
    return _problem(field, value, "must be of a run that you may see", "Look the id up with `basin run list`")


def _problem(field: str, value: str, allowed: str, remedy: str) -> SpecProblem:
    return SpecProblem(path=f"spec.model.init_from.{field}", value=value[:120], allowed=allowed, remedy=remedy)
