"""The same change to many runs, each in a transaction of its own, so that nothing that fails holds up the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.errors import BasinError
from api.runs.access import Caller, run_for
from api.runs.schemas import BulkRefusal

log = structlog.get_logger()

Act = Callable[[Session, Caller, Run], bool]
"""Changes a run whose row is locked; says whether it changed anything; raises BasinError to refuse."""


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """What became of each run, in the order asked."""

    done: list[str]
    unchanged: list[str]
    refused: list[BulkRefusal]


def each_run(
    transaction: Callable[[], AbstractContextManager[Session]],
    caller: Caller,
    run_ids: Sequence[str],
    act: Act,
    *,
    deleted: bool = False,
) -> Bulk:
    """Does `act` to the runs one after the other; one named twice counts once. `deleted`: to those that are deleted."""
    done: list[str] = []
    unchanged: list[str] = []
    refused: list[BulkRefusal] = []
    for run_id in dict.fromkeys(run_ids):
        try:
            with transaction() as session:
                changed = act(session, caller, run_for(session, caller, run_id, lock=True, deleted=deleted))
        except BasinError as error:
            refused.append(BulkRefusal(run_id=run_id, detail=error.detail))
        except SQLAlchemyError as error:
            log.warning("not_changed", run=run_id, error=str(error).splitlines()[0])
            refused.append(BulkRefusal(run_id=run_id, detail="the database did not answer in time: try again"))
        else:
            (done if changed else unchanged).append(run_id)
    return Bulk(done=done, unchanged=unchanged, refused=refused)
