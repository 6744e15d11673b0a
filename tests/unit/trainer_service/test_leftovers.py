"""What rank 0 left behind goes ahead of the driver's last word, or onto the storage."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.unit.trainer_service.report_server import ATTEMPT, ReportServer
from trainer.assignment import Assignment
from trainer.contract.reports import MetricsReport, Writer
from trainer.leftovers import deliver_leftovers
from trainer.reporter import now
from trainer.spool import Spool, read_lines


def left_by_a_killed_rank(assignment: Assignment, count: int) -> Path:
    path = assignment.spool_path(Writer.rank0)
    spool = Spool(path, attempt_id=ATTEMPT, writer=Writer.rank0)
    for _ in range(count):
        spool.append(lambda seq: MetricsReport(seq=seq, at=now(), step=seq, values={"train_loss": 1.0}))
    with path.open("a") as file:
        file.write('{"attempt_id":"a1","wri')  # torn by the kill
    return path


def test_the_spool_of_a_killed_rank_is_delivered_once(server: ReportServer, assignment: Assignment) -> None:
    path = left_by_a_killed_rank(assignment, 1200)
    server.reports[Writer.rank0] = [
        MetricsReport(seq=seq, at=now(), step=seq, values={"train_loss": 1.0}) for seq in range(1, 31)
    ]
    assert deliver_leftovers(assignment, Writer.rank0, time.monotonic() + 20)
    assert server.sequence(Writer.rank0) == list(range(1, 1201))
    assert not path.exists()


def test_without_an_api_it_is_stored_with_its_attempt(server: ReportServer, assignment: Assignment) -> None:
    path = left_by_a_killed_rank(assignment, 3)
    server.down()
    assert not deliver_leftovers(assignment, Writer.rank0, time.monotonic())
    stored = [json.loads(line) for line in read_lines(assignment.unsent_path(Writer.rank0))]
    assert [(line["seq"], line["attempt_id"]) for line in stored] == [(1, "a1"), (2, "a1"), (3, "a1")]
    assert not path.exists()
    server.up()
    assert deliver_leftovers(assignment, Writer.rank0, time.monotonic() + 5)
    assert server.sequence(Writer.rank0) == [1, 2, 3]
    assert not assignment.unsent_path(Writer.rank0).exists()


def test_nothing_left_sends_nothing(server: ReportServer, assignment: Assignment) -> None:
    assert deliver_leftovers(assignment, Writer.rank0, time.monotonic())
    assert server.requests == 0
