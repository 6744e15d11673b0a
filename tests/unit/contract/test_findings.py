"""Checks that hang or break are findings; clocks and versions are judged."""

from __future__ import annotations

import threading
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainer.contract import folders
from trainer.contract.build import same_version
from trainer.contract.clocks import judge_date, judge_skew
from trainer.contract.findings import Check, Found, Verdict, failed, ok, run_checks, warning, worst

HERE = {"basin": "1.2.0", "revision": "abc", "python": "3.11.4"}


class TestRunChecks:
    def test_one_that_hangs_does_not_hold_up_the_others(self) -> None:
        released = threading.Event()

        def hangs() -> Found:
            released.wait(60)
            return ok("late")

        found = run_checks(
            "node a",
            [
                Check(name="slow", look=hangs, seconds=0.05, if_it_hangs="Mount it anew"),
                Check(name="quick", look=lambda: ok("there")),
            ],
        )
        released.set()
        assert [(each.check, each.verdict) for each in found] == [("slow", "failed"), ("quick", "ok")]
        assert found[0].sentence == (
            "node a: slow: failed: no answer within 0.05 s; needed: an answer within 0.05 s. Mount it anew"
        )

    def test_one_that_breaks_says_how(self) -> None:
        [found] = run_checks("x", [Check(name="broken", look=lambda: ok(str(1 / 0)))])
        assert (found.verdict, found.found) == ("failed", "could not be checked (ZeroDivisionError: division by zero)")
        assert found.remedy

    @pytest.mark.parametrize(
        ("verdicts", "expected"),
        [([], "ok"), (["ok"], "ok"), (["ok", "warning"], "warning"), (["warning", "failed", "ok"], "failed")],
    )
    def test_the_worst_counts(self, verdicts: list[str], expected: str) -> None:
        assert worst([Found(verdict=Verdict(verdict), found="") for verdict in verdicts]) == expected


class TestClocks:
    @pytest.mark.parametrize(
        ("seconds", "verdict", "told"),
        [(0, "ok", ""), (-4.9, "ok", ""), (10, "warning", "10 s ahead of"), (-3600, "failed", "3,600 s behind")],
    )
    def test_by_how_far_they_are_apart(self, seconds: float, verdict: str, told: str) -> None:
        found = judge_skew(seconds, "the API's clock")
        assert found.verdict == verdict
        assert told in found.found
        assert (not found.remedy) == (verdict == "ok")

    def test_a_slow_answer_is_no_skew(self) -> None:
        assert judge_date(formatdate(1_000_000), asked_at=999_992, answered_at=1_000_008).verdict == "ok"
        assert judge_date(formatdate(1_000_000), asked_at=999_800, answered_at=999_801).verdict == "failed"

    @pytest.mark.parametrize("header", [None, "", "yesterday"])
    def test_an_answer_without_a_date_is_told(self, header: str | None) -> None:
        assert "no date" in judge_date(header, asked_at=0, answered_at=0).found


class TestVersions:
    @pytest.mark.parametrize(
        ("theirs", "told"),
        [
            ({"basin": "1.1.0"}, "basin 1.2.0 here, 1.1.0 in the API"),
            ({"revision": "abd"}, "revision abc here, abd in the API"),
            ({"python": "3.12.4"}, "python 3.11 here, 3.12 in the API"),
        ],
    )
    def test_what_differs_is_named_with_what_to_do(self, theirs: dict[str, str | None], told: str) -> None:
        found = same_version({**HERE, **theirs}, "the API", HERE)
        assert (found.verdict, found.found) == ("failed", told)
        assert "from one source" in found.remedy

    def test_what_one_of_them_does_not_know_is_not_compared(self) -> None:
        assert same_version({"basin": "1.2.0", "revision": None, "python": "3.11.9"}, "the API", HERE).verdict == "ok"


class TestFolders:
    def test_too_little_shared_memory(self, tmp_path: Path) -> None:
        found = folders.shared_memory(10**6, tmp_path)
        assert (found.verdict, "shm_size" in found.remedy) == ("failed", True)

    @pytest.mark.parametrize(("least", "verdict"), [(0, "ok"), (10**18, "warning")])
    def test_little_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int, verdict: str) -> None:
        monkeypatch.setattr(folders, "LITTLE_BYTES", least)
        found = folders.free_disk(tmp_path / "not" / "yet", "the spool")
        assert found.verdict == verdict
        assert str(tmp_path) in found.found
        monkeypatch.setattr(folders, "TOO_LITTLE_BYTES", 10**18)
        assert folders.free_disk(tmp_path, "the spool").verdict == "failed"

    @pytest.mark.parametrize(
        ("free", "verdict"), [(4 * folders.GIB, "ok"), (folders.GIB // 2, "warning"), (folders.GIB // 16, "failed")]
    )
    def test_a_containers_temporary_memory_is_enough_until_it_is_nearly_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
    ) -> None:
        usage = SimpleNamespace(total=4 * folders.GIB, used=4 * folders.GIB - free, free=free)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        found = folders.temporary_disk(tmp_path)
        assert found.verdict == verdict
        assert "basin admin collect" not in found.remedy, "it makes no room there"
        assert ("TMPDIR" in found.remedy) == (verdict != "ok")

    def test_a_storage_without_its_proof(self, tmp_path: Path) -> None:
        found = folders.own_storage(tmp_path)
        assert (found.verdict, "Mount the storage" in found.remedy) == ("failed", True)
        (tmp_path / folders.PROOF_FILE).touch()
        assert folders.own_storage(tmp_path).verdict == "ok"
        assert [path.name for path in tmp_path.iterdir()] == [folders.PROOF_FILE]

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        found = folders.writable(tmp_path / "file" / "folder")
        assert (found.verdict, "cannot be made" in found.found) == ("failed", True)

    def test_a_storage_of_ones_own_is_not_shared(self, tmp_path: Path) -> None:
        (tmp_path / "api").write_text("nonce")
        assert folders.shared_storage(tmp_path, {"api": "nonce"}, "me").verdict == "ok"
        assert (tmp_path / "me").read_text() == "nonce"
        for writers in ({"api": "another"}, {"api": "nonce", "celery": "nonce"}):
            found = folders.shared_storage(tmp_path, writers, "me")
            assert (found.verdict, "Mount the same storage" in found.remedy) == ("failed", True)

    def test_warnings_and_failures_have_what_is_needed_and_a_remedy(self) -> None:
        for judged in (warning("a", needed="b", remedy="c"), failed("a", needed="b", remedy="c")):
            assert (judged.found, judged.needed, judged.remedy) == ("a", "b", "c")
