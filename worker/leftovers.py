"""Reports that a trainer could not deliver, found on the storage: they count as if they had been sent.

Three places, in the order of their numbers: beside the newest checkpoint that the attempt wrote (all that was not
acknowledged when it was saved), and what rank 0 and then the driver left at their exit. Each line names its attempt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from api.db.tables import Attempt, ReportMark
from api.errors import ReportGap
from api.runs.intake import take_in
from trainer.contract.reports import MAX_REPORTS_PER_BATCH, Report, Writer
from worker.connections import Connections

log = structlog.get_logger()

REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def take_in_leftovers(connections: Connections, *, attempt_id: str, run_id: str, number: int) -> int:
    """Takes in whatever is there, in transactions of its own; returns how many reports were new. Idempotent.

    Missing reports between two files are no error: the attempt that follows reports those steps again.
    """
    read = 0
    for writer, path in leftover_files(connections.settings.storage, run_id=run_id, number=number):
        reports = read_reports(path, attempt_id=attempt_id)
        if reports:
            with connections.transaction() as session:
                mark = session.get(ReportMark, (attempt_id, writer.value))
                reports = [report for report in reports if mark is None or report.seq > mark.last_seq]
        read += len(reports)
        for start in range(0, len(reports), MAX_REPORTS_PER_BATCH):
            batch = reports[start : start + MAX_REPORTS_PER_BATCH]
            try:
                with connections.transaction() as session:
                    attempt = session.get_one(Attempt, attempt_id)
                    take_in(session, attempt, writer, batch, renews_lease=False)
            except ReportGap as gap:
                log.warning("leftovers_have_a_gap", path=str(path), acknowledged=gap.acknowledged, first=batch[0].seq)
                break
    return read


def leftover_files(storage: Path, *, run_id: str, number: int) -> Iterator[tuple[Writer, Path]]:
    run_folder = storage / "runs" / run_id
    for checkpoint in sorted((run_folder / "checkpoints").glob("step-*"), reverse=True):
        # Checkpoints appear by an atomic rename, so this one is complete. Older ones hold nothing that it lacks.
        yield Writer.rank0, checkpoint / f"unsent-{Writer.rank0}.jsonl"
        break
    for writer in (Writer.rank0, Writer.driver):
        yield writer, run_folder / "attempts" / str(number) / f"unsent-{writer}.jsonl"


def read_reports(path: Path, *, attempt_id: str) -> list[Report]:
    """The attempt's reports in a file, up to the first line that cannot be read; none if there is no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    reports: list[Report] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            row = json.loads(line)
            if row.get("attempt_id") == attempt_id:
                reports.append(REPORT.validate_python(row))
        except (ValueError, AttributeError, ValidationError) as error:
            log.warning("leftover_unreadable", path=str(path), line=line[:200], error=str(error)[:200])
            break
    return reports
