"""The spool keeps every report, in order, until it is acknowledged, and no longer than needed."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trainer.contract.reports import MAX_REPORTS_PER_BATCH, MetricsReport, Numbered, Writer
from trainer.reporter import now
from trainer.spool import MAX_BATCH_BYTES, Spool, read_lines


def metrics(seq: int, note: float = 1.5) -> MetricsReport:
    return MetricsReport(seq=seq, at=now(), step=seq, values={"train_loss": note})


def wide(seq: int) -> Numbered:
    return MetricsReport(seq=seq, at=now(), step=seq, values={f"a_long_name_{i:03}": 0.123456789 for i in range(200)})


def seqs(lines: list[str]) -> list[int]:
    return [json.loads(line)["seq"] for line in lines]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool" / "a1-rank0.jsonl", attempt_id="a1", writer=Writer.rank0, keep_bytes=1000)


def test_numbers_from_one_without_gaps(spool: Spool) -> None:
    assert [spool.append(metrics) for _ in range(4)] == [1, 2, 3, 4]
    assert seqs(spool.batch()) == [1, 2, 3, 4]
    spool.close()


def test_a_line_names_its_attempt_and_writer_and_is_the_report(spool: Spool) -> None:
    spool.append(lambda seq: metrics(seq, float("nan")))
    line = json.loads(spool.batch()[0])
    assert (line["attempt_id"], line["writer"], line["values"]) == ("a1", "rank0", {"train_loss": "nan"})
    assert MetricsReport.model_validate(line).seq == 1
    spool.close()


def test_a_batch_is_bounded_in_count_and_bytes(spool: Spool) -> None:
    for _ in range(MAX_REPORTS_PER_BATCH + 20):
        spool.append(metrics)
    assert len(spool.batch()) == MAX_REPORTS_PER_BATCH
    spool.acknowledge(MAX_REPORTS_PER_BATCH + 20)
    for _ in range(400):
        spool.append(wide)
    batch = spool.batch()
    assert batch
    assert sum(len(line) for line in batch) <= MAX_BATCH_BYTES
    spool.close()


def test_the_file_stays_short_and_private_and_is_removed_at_the_end(spool: Spool, tmp_path: Path) -> None:
    path = tmp_path / "spool" / "a1-rank0.jsonl"
    for _ in range(100):
        spool.append(metrics)
    spool.acknowledge(50)
    kept = seqs(read_lines(path))
    assert kept == list(range(kept[0], 101)), "what is not acknowledged is never cut"
    assert 40 < kept[0] <= 50, "of what is, the newest stays"
    spool.acknowledge(100)
    assert 0 < path.stat().st_size <= 500
    assert spool.append(metrics) == 101
    assert seqs(spool.batch()) == [101]
    assert seqs(read_lines(path))[-2:] == [100, 101]
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    spool.close()
    assert not path.exists()


def test_rewinding_sends_again_what_the_file_still_holds(spool: Spool) -> None:
    for _ in range(3):
        spool.append(metrics)
    spool.acknowledge(3)
    assert spool.rewind(1)
    assert seqs(spool.batch()) == [2, 3]
    for _ in range(50):
        spool.append(metrics)
    spool.acknowledge(53)
    assert not spool.rewind(10)
    spool.close()


def test_what_is_not_acknowledged_is_stored_whole_or_not_at_all(spool: Spool, tmp_path: Path) -> None:
    target = tmp_path / "storage" / "attempts" / "unsent-rank0.jsonl"
    assert spool.store_unacknowledged(target) == 0
    assert not target.exists()
    for _ in range(5):
        spool.append(metrics)
    spool.acknowledge(2)
    assert spool.store_unacknowledged(target) == 3
    assert seqs(read_lines(target)) == [3, 4, 5]
    assert [path.name for path in target.parent.iterdir()] == ["unsent-rank0.jsonl"]
    spool.close()


def test_a_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_text('{"seq": 1}\n{"seq": 2}\n{"se')
    assert seqs(read_lines(path)) == [1, 2]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_spools_forgotten_for_a_week_are_swept(tmp_path: Path) -> None:
    old, young = tmp_path / "a0-rank0.jsonl", tmp_path / "b0-rank0.jsonl"
    old.write_text("")
    young.write_text("")
    os.utime(old, (1, 1))
    Spool(tmp_path / "a1-rank0.jsonl", attempt_id="a1", writer=Writer.rank0).close()
    assert [path.name for path in tmp_path.iterdir()] == ["b0-rank0.jsonl"]


class SpoolAgainstList(RuleBasedStateMachine):
    """Any order of appends, acknowledgements and rewinds, against a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name) / "s.jsonl", attempt_id="a", writer=Writer.rank0, keep_bytes=2000)
        self.count = 0
        self.acknowledged = 0

    @rule(how_many=st.integers(1, 40))
    def append(self, how_many: int) -> None:
        for _ in range(how_many):
            self.count += 1
            assert self.spool.append(metrics) == self.count

    @rule(share=st.floats(0, 1.2))
    def acknowledge(self, share: float) -> None:
        self.spool.acknowledge(round(share * self.count))
        self.acknowledged = max(self.acknowledged, min(self.count, round(share * self.count)))

    @precondition(lambda self: self.acknowledged > 0)
    @rule(share=st.floats(0, 1))
    def rewind(self, share: float) -> None:
        to = int(share * self.acknowledged)
        if self.spool.rewind(to):
            self.acknowledged = to

    @invariant()
    def holds_exactly_what_is_not_acknowledged(self) -> None:
        assert seqs(self.spool.unacknowledged()) == list(range(self.acknowledged + 1, self.count + 1))
        assert seqs(self.spool.batch()) == list(range(self.acknowledged + 1, self.count + 1))[:MAX_REPORTS_PER_BATCH]
        assert (self.spool.last, self.spool.acknowledged) == (self.count, self.acknowledged)

    def teardown(self) -> None:
        self.spool.close()
        self.folder.cleanup()


TestSpoolAgainstList = SpoolAgainstList.TestCase
TestSpoolAgainstList.settings = settings(max_examples=40, stateful_step_count=20)
