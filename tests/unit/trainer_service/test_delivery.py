"""Reports arrive once each and in order, whatever befalls the API; training never waits for it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trainer.delivery
from tests.unit.trainer_service.report_server import ATTEMPT, TOKEN, Fault, ReportServer
from trainer.api_client import ApiClient
from trainer.contract.ends import EndReason
from trainer.contract.reports import Command, MetricsReport, ReportReply, Writer
from trainer.delivery import Delivery
from trainer.reporter import now
from trainer.spool import Spool, read_lines


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.delivery, "FIRST_BACK_OFF_SECONDS", 0.005)
    monkeypatch.setattr(trainer.delivery, "MAX_BACK_OFF_SECONDS", 0.02)


def delivery_of(server: ReportServer, folder: Path) -> Delivery:
    spool = Spool(folder / "spool.jsonl", attempt_id=ATTEMPT, writer=Writer.rank0, keep_bytes=4000)
    api = ApiClient(server.url, ATTEMPT, timeout_seconds=2)
    delivery = Delivery(spool, api, attempt_token=TOKEN, writer=Writer.rank0, flush_seconds=0.005)
    delivery.start()
    return delivery


def add(delivery: Delivery, count: int = 1) -> None:
    for _ in range(count):
        delivery.add(lambda seq: MetricsReport(seq=seq, at=now(), step=seq, values={"train_loss": float(seq)}))


def until(condition: Callable[[], bool], timeout_seconds: float = 60) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_reports_arrive_in_order_and_nothing_is_left(server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    add(delivery, 1200)
    assert delivery.close(patience_seconds=10, leftovers=tmp_path / "unsent.jsonl") == 0
    assert server.sequence(Writer.rank0) == list(range(1, 1201))
    assert max(last - first for _, first, last in server.batches) < 500
    assert not (tmp_path / "unsent.jsonl").exists()
    assert not (tmp_path / "spool.jsonl").exists()


def test_an_outage_delays_reports_and_loses_none(server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    add(delivery, 3)
    until(lambda: len(server.sequence(Writer.rank0)) == 3)
    server.down()
    add(delivery, 5)
    until(lambda: not delivery.is_answered)
    add(delivery, 50)
    server.up()
    until(lambda: len(server.sequence(Writer.rank0)) == 58)
    assert server.sequence(Writer.rank0) == list(range(1, 59))
    delivery.close(patience_seconds=5, leftovers=tmp_path / "unsent.jsonl")


def test_adding_does_not_wait_for_the_api(server: ReportServer, tmp_path: Path) -> None:
    class Counted(ApiClient):
        ended = 0

        def report(self, attempt_token: str, writer: Writer, lines: list[str]) -> ReportReply:
            try:
                return super().report(attempt_token, writer, lines)
            finally:
                self.ended += 1

    api = Counted(server.url, ATTEMPT, timeout_seconds=60)
    spool = Spool(tmp_path / "spool.jsonl", attempt_id=ATTEMPT, writer=Writer.rank0, keep_bytes=4000)
    delivery = Delivery(spool, api, attempt_token=TOKEN, writer=Writer.rank0, flush_seconds=0.005)
    delivery.start()
    add(delivery)
    until(lambda: api.ended == 1)
    with server.lock:  # it answers nobody
        add(delivery, 50)
        assert api.ended == 1, "no request came to an end meanwhile"
    until(lambda: len(server.sequence(Writer.rank0)) == 51)
    delivery.close(patience_seconds=5, leftovers=tmp_path / "unsent.jsonl")


def test_what_the_database_lost_is_sent_again(server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    add(delivery, 6)
    until(lambda: len(server.sequence(Writer.rank0)) == 6)
    with server.lock:
        del server.reports[Writer.rank0][2:]
    add(delivery)
    until(lambda: server.sequence(Writer.rank0) == [1, 2, 3, 4, 5, 6, 7])
    delivery.close(patience_seconds=5, leftovers=tmp_path / "unsent.jsonl")


@pytest.mark.parametrize(
    ("command", "reason"),
    [(Command.stop, EndReason.cancelled_by_user), (Command.pause, EndReason.paused)],
)
def test_a_stop_or_a_pause_is_heard(command: Command, reason: EndReason, server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    add(delivery)
    until(lambda: len(server.sequence(Writer.rank0)) == 1)
    assert not delivery.stop_requested
    server.command = command
    add(delivery)
    until(lambda: delivery.stop_requested)
    assert delivery.stop_reason is reason
    assert not delivery.superseded
    delivery.close(patience_seconds=5, leftovers=tmp_path / "unsent.jsonl")


def test_a_superseded_attempt_sends_and_stores_nothing_more(server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    server.superseded = True
    add(delivery)
    until(lambda: delivery.superseded)
    requests = server.requests
    add(delivery, 10)
    time.sleep(0.05)
    assert delivery.close(patience_seconds=1, leftovers=tmp_path / "unsent.jsonl") == 0
    assert server.requests == requests
    assert not (tmp_path / "unsent.jsonl").exists()


def test_refused_reports_wait_and_are_stored_at_the_end(server: ReportServer, tmp_path: Path) -> None:
    delivery = delivery_of(server, tmp_path)
    server.refusal = (401, "the token is not known")
    add(delivery, 2)
    until(lambda: not delivery.is_answered)
    assert delivery.close(patience_seconds=0.1, leftovers=tmp_path / "unsent.jsonl") == 2
    assert [json.loads(line)["seq"] for line in read_lines(tmp_path / "unsent.jsonl")] == [1, 2]


FAULTS = st.lists(st.sampled_from(Fault), max_size=25)


@settings(max_examples=60)
@given(faults=FAULTS, parts=st.lists(st.integers(1, 30), min_size=1, max_size=6), lost=st.integers(0, 5))
def test_nothing_is_lost_or_doubled_under_any_outage(faults: list[Fault], parts: list[int], lost: int) -> None:
    with tempfile.TemporaryDirectory() as name, ReportServer() as server:
        folder = Path(name)
        delivery = delivery_of(server, folder)
        server.play(faults)
        for part in parts:
            add(delivery, part)
            time.sleep(0.003)
        with server.lock:  # the database forgets its last commits while the attempt goes on
            stored = server.reports[Writer.rank0]
            del stored[max(0, len(stored) - lost) :]
        add(delivery)
        assert delivery.close(patience_seconds=20, leftovers=folder / "unsent.jsonl") == 0
        assert server.sequence(Writer.rank0) == list(range(1, sum(parts) + 2))


@settings(max_examples=40)
@given(before=st.integers(0, 40), during=st.integers(1, 40), last_answer_lost=st.booleans())
def test_what_an_outage_at_the_end_holds_back_is_stored(before: int, during: int, last_answer_lost: bool) -> None:
    with tempfile.TemporaryDirectory() as name, ReportServer() as server:
        folder = Path(name)
        delivery = delivery_of(server, folder)
        add(delivery, before)
        until(lambda: delivery.spool.outstanding == 0)
        server.play([Fault.cut_after if last_answer_lost else Fault.busy] + [Fault.busy] * 10_000)
        add(delivery, during)
        left = delivery.close(patience_seconds=0.05, leftovers=folder / "unsent.jsonl")
        stored = [json.loads(line)["seq"] for line in read_lines(folder / "unsent.jsonl")]
        assert stored == list(range(before + 1, before + during + 1))
        assert left == during
        known = set(server.sequence(Writer.rank0)) | set(stored)
        assert known == set(range(1, before + during + 1))
