"""Takes in what a trainer reports: idempotent, in order, one writer at a time (design page, "Intake")."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.db.tables import Attempt
from trainer.contract.reports import Report, ReportReply, Writer


def take_in(session: Session, attempt: Attempt, writer: Writer, reports: Sequence[Report]) -> ReportReply:
    """Stores the reports of one writer that are not stored yet; does not commit.

    The route and the worker's leftover intake both come through here. Sending a report twice does nothing. Raises
    ReportGap if reports are missing before the first new one. An attempt that ended or was replaced is answered
    `stop` and `superseded`, and nothing is stored.
    """
    raise NotImplementedError
