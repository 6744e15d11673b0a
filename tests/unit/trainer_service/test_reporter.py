"""What rank 0 and the driver tell: coalesced progress, the lease, checkpoints behind their reports."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.trainer_service.conftest import assignment_of
from tests.unit.trainer_service.report_server import Fault, ReportServer
from trainer.assignment import Assignment
from trainer.contract.ends import EndReason
from trainer.contract.reports import MAX_DETAIL, Writer
from trainer.environment import environment
from trainer.errors import TrainerError
from trainer.listener import Listener
from trainer.reporter import DriverReporter, Pace, RankZeroReporter
from trainer.spool import read_lines


def until(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def rank_zero(assignment: Assignment) -> RankZeroReporter:
    return RankZeroReporter(assignment, flush_seconds=0.01)


def test_the_first_step_is_told_at_once_and_the_rest_about_once_a_second(
    server: ReportServer, assignment: Assignment
) -> None:
    reporter = rank_zero(assignment)
    listener: Listener = reporter
    listener.progress(0, 5000, 0.0)
    listener.first_step()
    until(lambda: len(server.of(Writer.rank0, "progress")) == 1)
    first = server.of(Writer.rank0, "progress")[0]
    assert (first.step, first.total_steps) == (1, 5000)
    assert first.first_step_at is not None
    for step in range(1, 2001):
        listener.progress(step, 5000, step / 100)
    reporter.close(patience_seconds=5)
    told = server.of(Writer.rank0, "progress")
    assert len(told) <= 3
    assert told[-1].step == 2000
    assert told[-1].first_step_at == first.first_step_at


def test_nothing_renews_the_lease_before_the_first_step(server: ReportServer, tmp_path: Path) -> None:
    reporter = rank_zero(assignment_of(server, tmp_path, lease_interval_seconds=0.02))
    reporter.progress(37, 100, 1.0)
    time.sleep(0.1)
    assert server.requests == 0
    reporter.close(patience_seconds=1)


def test_a_slow_step_still_renews_the_lease(server: ReportServer, tmp_path: Path) -> None:
    reporter = rank_zero(assignment_of(server, tmp_path, lease_interval_seconds=0.05))
    reporter.progress(0, 10, 0.0)
    reporter.first_step()
    until(lambda: len(server.of(Writer.rank0, "progress")) >= 4)
    assert {report.step for report in server.of(Writer.rank0, "progress")} == {1}
    reporter.close(patience_seconds=5)


def test_an_outage_does_not_pile_up_progress(server: ReportServer, tmp_path: Path) -> None:
    reporter = rank_zero(assignment_of(server, tmp_path, lease_interval_seconds=0.02))
    server.play([Fault.busy] * 10_000)
    reporter.progress(0, 10, 0.0)
    reporter.first_step()
    time.sleep(0.4)
    server.play([])
    reporter.close(patience_seconds=10)
    assert len(server.of(Writer.rank0, "progress")) <= 3


def test_the_remaining_time_follows_the_pace_of_the_last_minute() -> None:
    pace = Pace()
    assert pace.eta_seconds(1, 1000, at=0.0) is None
    assert pace.eta_seconds(1, 1000, at=1.0) is None
    assert pace.eta_seconds(11, 1000, at=10.0) == 989
    for second in range(11, 200):  # ten steps a second from here
        eta_seconds = pace.eta_seconds(11 + 10 * (second - 10), 3000, at=float(second))
    assert eta_seconds == pytest.approx((3000 - 1901) / 10)
    assert pace.eta_seconds(3000, 3000, at=300.0) == 0


def test_a_checkpoint_carries_the_reports_only_this_node_has(
    server: ReportServer, assignment: Assignment, tmp_path: Path
) -> None:
    reporter = rank_zero(assignment)
    reporter.metrics(1, {"train_loss": 1.0})
    until(lambda: len(server.of(Writer.rank0, "metrics")) == 1)
    until(lambda: reporter._delivery.spool.outstanding == 0)
    server.down()
    reporter.metrics(2, {"train_loss": 0.5})
    reporter.notice("code", "A sentence.", 2)
    folder = tmp_path / "storage/runs/r1/checkpoints/.tmp-1"
    folder.mkdir(parents=True)
    reporter.before_checkpoint(2, folder)
    place = folder.rename(folder.with_name("step-00000002"))
    reporter.checkpoint(2, place, 123)
    stored = [json.loads(line) for line in read_lines(place / "unsent-rank0.jsonl")]
    assert [(line["attempt_id"], line["kind"], line["step"]) for line in stored] == [
        ("a1", "metrics", 2), ("a1", "notice", 2)
    ]  # fmt: skip
    server.up()
    until(lambda: len(server.of(Writer.rank0, "checkpoint")) == 1)
    assert server.of(Writer.rank0, "checkpoint")[0].path == "runs/r1/checkpoints/step-00000002"
    assert [report.step for report in server.of(Writer.rank0, "metrics")] == [1, 2]
    reporter.close(patience_seconds=5)


def test_a_checkpoint_with_everything_acknowledged_carries_no_file(
    server: ReportServer, assignment: Assignment, tmp_path: Path
) -> None:
    reporter = rank_zero(assignment)
    reporter.metrics(1, {"train_loss": 1.0})
    until(lambda: reporter._delivery.spool.outstanding == 0)
    reporter.before_checkpoint(1, tmp_path)
    assert not (tmp_path / "unsent-rank0.jsonl").exists()
    reporter.close(patience_seconds=5)


def test_a_superseded_attempt_ends_before_it_saves(
    server: ReportServer, assignment: Assignment, tmp_path: Path
) -> None:
    reporter = rank_zero(assignment)
    server.superseded = True
    reporter.metrics(1, {"train_loss": 1.0})
    until(lambda: reporter.superseded)
    tellings: list[Callable[[], None]] = [
        lambda: reporter.progress(1, 10, 0.1),
        lambda: reporter.metrics(2, {}),
        lambda: reporter.before_checkpoint(2, tmp_path),
    ]
    for tell in tellings:
        with pytest.raises(TrainerError) as caught:
            tell()
        assert caught.value.reason is EndReason.superseded
    assert reporter.close(patience_seconds=1) == 0


def test_reports_left_at_the_exit_are_stored_for_reconcile(server: ReportServer, assignment: Assignment) -> None:
    server.down()
    reporter = rank_zero(assignment)
    reporter.metrics(1, {"train_loss": float("inf")})
    assert reporter.close(patience_seconds=0.1) == 1
    (line,) = read_lines(assignment.storage / "runs/r1/attempts/1/unsent-rank0.jsonl")
    assert json.loads(line)["values"] == {"train_loss": "inf"}
    assert not assignment.spool_path(Writer.rank0).exists()


def test_the_driver_renews_until_it_hands_over(server: ReportServer, tmp_path: Path) -> None:
    reporter = DriverReporter(assignment_of(server, tmp_path, lease_interval_seconds=0.03), flush_seconds=0.01)
    reporter.doing("waiting for 2 workers")
    until(lambda: len(server.of(Writer.driver, "lease")) >= 3)
    assert server.of(Writer.driver, "lease")[-1].doing == "waiting for 2 workers"
    reporter.started(environment(["cpu", "cpu"]))
    reporter.hand_over()
    time.sleep(0.05)
    until(lambda: reporter._delivery.spool.outstanding == 0)
    renewed = len(server.of(Writer.driver, "lease"))
    time.sleep(0.15)
    assert len(server.of(Writer.driver, "lease")) == renewed
    reporter.ended(EndReason.completed, "x" * (MAX_DETAIL + 1))
    assert reporter.close(patience_seconds=5) == 0
    (started,) = server.of(Writer.driver, "started")
    assert started.environment.devices == ["cpu", "cpu"]
    assert started.environment.torch is not None
    (ended,) = server.of(Writer.driver, "ended")
    assert (ended.reason, len(ended.detail)) == (EndReason.completed, MAX_DETAIL)
    assert server.sequence(Writer.driver)[-1] == ended.seq
