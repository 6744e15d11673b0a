"""Reading what a trainer could not deliver."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from trainer.contract.reports import MetricsReport, Report, Writer
from worker.leftovers import leftover_files, read_reports

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINE, OTHER = "a" * 24, "b" * 24


def line(seq: int, attempt_id: str = MINE) -> str:
    report = MetricsReport(seq=seq, at=NOW, step=seq, values={"train_loss": float("nan")})
    return f'{{"attempt_id":"{attempt_id}","writer":"rank0",' + report.model_dump_json().removeprefix("{") + "\n"


def seqs(reports: list[Report]) -> list[int]:
    return [report.seq for report in reports]


class TestReadReports:
    def test_no_file_is_no_report(self, tmp_path: Path) -> None:
        assert read_reports(tmp_path / "none.jsonl", attempt_id=MINE) == []

    def test_another_attempts_lines_are_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "unsent.jsonl"
        path.write_text(line(1, OTHER) + line(1) + line(2) + line(3, OTHER))
        assert seqs(read_reports(path, attempt_id=MINE)) == [1, 2]

    def test_a_line_torn_by_a_crash_ends_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "unsent.jsonl"
        path.write_text(line(1) + line(2)[:-9])
        assert seqs(read_reports(path, attempt_id=MINE)) == [1]

    def test_what_follows_an_unreadable_line_is_left_out_since_a_number_is_missing(self, tmp_path: Path) -> None:
        path = tmp_path / "unsent.jsonl"
        for bad in ("nonsense\n", "[]\n", '{"attempt_id": "' + MINE + '", "kind": "unheard of", "seq": 2}\n'):
            path.write_text(line(1) + bad + line(3))
            assert seqs(read_reports(path, attempt_id=MINE)) == [1]


class TestLeftoverFiles:
    def test_the_newest_checkpoint_comes_first_and_the_drivers_last_words_last(self, tmp_path: Path) -> None:
        checkpoints = tmp_path / "runs/r/checkpoints"
        for name in ("step-00000020", "step-00000100", ".tmp-step-00000120"):
            (checkpoints / name).mkdir(parents=True)
        attempt = tmp_path / "runs/r/attempts/2"
        assert list(leftover_files(tmp_path, run_id="r", number=2)) == [
            (Writer.rank0, checkpoints / "step-00000100/unsent-rank0.jsonl"),
            (Writer.rank0, attempt / "unsent-rank0.jsonl"),
            (Writer.driver, attempt / "unsent-driver.jsonl"),
        ]

    def test_without_a_checkpoint_only_the_attempts_own(self, tmp_path: Path) -> None:
        writers = [writer for writer, _ in leftover_files(tmp_path, run_id="r", number=1)]
        assert writers == [Writer.rank0, Writer.driver]
