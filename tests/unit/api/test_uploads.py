"""Uploads on their own, without a database: full disks, people in each other's way, and what is left behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from api.errors import Conflict, Invalid, NotFound, TooLarge
from api.runs import upload_files, upload_place, uploads
from api.runs.abandoned_uploads import AbandonedUploads, remove_abandoned
from api.runs.access import Caller
from api.settings import Settings

MAX = Caller(user_id=1, token_id=1, name="max", role="member")
MIA = Caller(user_id=2, token_id=2, name="mia", role="member")
ADA = Caller(user_id=3, token_id=3, name="ada", role="admin")
DAY = 86_400.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(root: Path) -> Settings:
    return Settings.model_construct(data_roots=(root,), data_uploads="members", data_uploads_leave_gib=0.0)


def piece(path: str, content: bytes, **other: Any) -> dict[str, Any]:
    about = {"path": path, "offset": 0, "length": len(content), "total": len(content)}
    return {**about, "sha256": sha256(content), **other}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def send(settings: Settings, path: str, content: bytes, *, who: Caller = MAX, **other: Any) -> dict[str, int]:
    body = json.dumps([piece(path, content, **other)]).encode() + b"\n" + content
    return uploads.take_part(settings, who, "pets", body).bytes


def finish(settings: Settings, files: int, size: int) -> uploads.Uploaded:
    return uploads.finish(settings, MAX, "pets", uploads.WholeSet(files=files, bytes=size))


def refusing(monkeypatch: pytest.MonkeyPatch, number: int, *names: str) -> None:
    """Lets no folder of these names be made."""
    original = Path.mkdir

    def mkdir(path: Path, *given: Any, **named: Any) -> None:
        if path.name in names:
            raise OSError(number, os.strerror(number), str(path))
        original(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)


class TestBegin:
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
    def test_a_root_that_cannot_be_written_is_named_with_what_to_do(
        self, settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        refusing(monkeypatch, number, ".uploading-pets")
        with pytest.raises(Conflict) as caught:
            uploads.begin(settings, MAX, "pets")
        for told in (str(root), os.strerror(number), "mount it writable", f"chown {os.geteuid()}"):
            assert told in str(caught.value)

    def test_a_disk_that_is_full_locks_nobody_out(
        self, settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        original = Path.open

        def opens(path: Path, mode: str = "r", **named: Any) -> Any:
            if mode != "x":
                return original(path, mode, **named)
            original(path, mode, **named).close()  # Its name takes no room, its content does.
            return Full()

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", opens)
            with pytest.raises(TooLarge, match=r"is full .*make room there"):
                uploads.begin(settings, MAX, "pets")
        assert not (root / ".uploading-pets" / "by").exists()
        assert not uploads.begin(settings, MIA, "pets").resumes

    def test_what_is_nobodys_is_free(self, settings: Settings, root: Path) -> None:
        (root / ".uploading-pets").mkdir()
        (root / ".uploading-pets" / "by").touch()
        with pytest.raises(NotFound, match="begin it anew"):
            send(settings, "a", b"x")
        assert uploads.begin(settings, MAX, "pets")
        with pytest.raises(Conflict, match="an admin may abandon it"):
            uploads.begin(settings, MIA, "pets")
        assert uploads.begin(settings, MAX, "pets").resumes

    def test_a_link_in_its_place_is_not_followed(self, settings: Settings, root: Path, tmp_path: Path) -> None:
        (root / ".uploading-pets").symlink_to(tmp_path)
        with pytest.raises(Conflict, match="is a link"):
            uploads.begin(settings, MAX, "pets")
        with pytest.raises(NotFound):
            uploads.abandon(settings, ADA, "pets")


class TestResuming:
    def test_hashes_are_told_of_what_is_whole(self, settings: Settings) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "whole", b"abc")
        send(settings, "half", b"ab", total=4)
        told = uploads.have(settings, MAX, "pets", ["whole", "half", "none"], sha256=True)
        assert (told.bytes, told.sha256) == ({"whole": 3, "half": 2}, {"whole": sha256(b"abc")})
        assert uploads.have(settings, MAX, "pets", ["whole"]).sha256 == {}

    def test_at_least_one_is_told_however_large(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        uploads.begin(settings, MAX, "pets")
        for name in ("a", "b"):
            send(settings, name, b"abc")
        monkeypatch.setattr(uploads, "READ_AT_ONCE_BYTES", 1)
        assert set(uploads.have(settings, MAX, "pets", ["a", "b"], sha256=True).sha256) == {"a"}
        assert set(uploads.have(settings, MAX, "pets", ["b"], sha256=True).sha256) == {"b"}

    def test_a_large_file_is_read_once(self, settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upload_files, "LARGE_BYTES", 3)
        uploads.begin(settings, MAX, "pets")
        send(settings, "large", b"abc")
        reads: list[object] = []
        monkeypatch.setattr(upload_files.hashlib, "file_digest", lambda *given: reads.append(given))
        assert uploads.have(settings, MAX, "pets", ["large"], sha256=True).sha256 == {"large": sha256(b"abc")}
        assert send(settings, "large", b"abc") == {"large": 3}
        assert not reads
        monkeypatch.undo()
        send(settings, "large", b"x")
        assert uploads.have(settings, MAX, "pets", ["large"], sha256=True).sha256 == {"large": sha256(b"x")}
        finish(settings, 1, 1)
        assert [path.name for path in root.iterdir()] == ["pets"]

    @pytest.mark.parametrize("content", [b"ABC", b"longer", b"s", b""])
    def test_a_file_that_changed_since_an_earlier_try_gives_way(
        self, settings: Settings, root: Path, content: bytes
    ) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "a", b"abc")
        assert send(settings, "a", content) == {"a": len(content)}
        finish(settings, 1, len(content))
        assert (root / "pets" / "a").read_bytes() == content

    def test_half_a_file_that_became_shorter_begins_anew(self, settings: Settings, root: Path) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "a", b"abcdef", total=9)
        assert send(settings, "a", b"xy") == {"a": 2}
        assert (root / ".uploading-pets" / "files" / "a").read_bytes() == b"xy"

    def test_all_bytes_of_a_file_that_is_not_whole_become_one_by_an_empty_piece(self, settings: Settings) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "a", b"abc", total=4)
        (settings.data_roots[0] / ".uploading-pets" / "files" / "a.part").write_bytes(b"abcd")
        assert send(settings, "a", b"", offset=4, total=4, sha256=sha256(b"abcd")) == {"a": 4}
        finish(settings, 1, 4)

    def test_what_is_there_is_listed_page_by_page(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        uploads.begin(settings, MAX, "pets")
        there = ["a-b/1", "a/1", "a/2", "a/b/1", "a.jpg", "b"]
        for path in there:
            send(settings, path, b"x")
        send(settings, "half", b"x", total=2)
        monkeypatch.setattr(uploads, "PATHS_AT_ONCE", 2)
        found: list[str] = []
        while True:
            page = uploads.sent(settings, MAX, "pets", found[-1] if found else None)
            assert len(page.paths) <= 2
            found += page.paths
            if not page.more:
                break
        assert sorted(found) == sorted([*there, "half"])

    def test_too_many_files_are_refused_with_a_way_out(self, settings: Settings) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "a", b"x")
        send(settings, "gone", b"x")
        with pytest.raises(Conflict, match=r"names what is too much; with `--abandon`"):
            finish(settings, 1, 1)


class TestParts:
    @pytest.mark.parametrize(
        "line", [b"[" * 200_000, b"{", b"1" * 5000, b"\xff", json.dumps([piece("\ud800", b"")]).encode()]
    )
    def test_a_header_that_is_nothing_is_refused(self, settings: Settings, line: bytes) -> None:
        uploads.begin(settings, MAX, "pets")
        with pytest.raises(Invalid):
            uploads.take_part(settings, MAX, "pets", line + b"\n")

    def test_a_folder_in_place_of_a_file_is_told_with_a_way_out(self, settings: Settings) -> None:
        uploads.begin(settings, MAX, "pets")
        send(settings, "a", b"x")
        with pytest.raises(Conflict, match=r"'a/b' cannot be written .*--abandon"):
            send(settings, "a/b", b"x")

    def test_a_disk_that_fills_up_is_told_as_that(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        uploads.begin(settings, MAX, "pets")
        refusing(monkeypatch, errno.ENOSPC, "folder")
        with pytest.raises(TooLarge, match="is full"):
            send(settings, "folder/a", b"x")

    def test_a_late_piece_does_not_bring_an_abandoned_upload_back(self, settings: Settings, root: Path) -> None:
        uploads.begin(settings, MAX, "pets")
        place = upload_place.Place(root, "pets")
        uploads.abandon(settings, MAX, "pets")
        with pytest.raises(FileNotFoundError):
            upload_files.write(place, upload_files.Piece(**piece("folder/a", b"x")), b"x")
        assert list(root.iterdir()) == []

    def test_an_upload_that_goes_away_under_a_part_is_told(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uploads.begin(settings, MAX, "pets")
        monkeypatch.setattr(uploads, "_must_have_room", lambda *_: uploads.abandon(settings, MAX, "pets"))
        with pytest.raises(Conflict, match="was abandoned or changed"):
            send(settings, "folder/a", b"x")


class TestAbandon:
    def test_one_may_ones_own_and_an_admin_anybodys(self, settings: Settings, root: Path) -> None:
        uploads.begin(settings, MAX, "pets")
        with pytest.raises(Conflict, match="somebody else"):
            uploads.abandon(settings, MIA, "pets")
        uploads.abandon(settings, ADA, "pets")
        assert list(root.iterdir()) == []
        uploads.begin(settings, MAX, "pets")
        uploads.abandon(settings, MAX, "pets")
        assert list(root.iterdir()) == []
        with pytest.raises(NotFound, match="nothing to remove"):
            uploads.abandon(settings, MAX, "pets")

    def test_a_part_that_comes_meanwhile_is_no_crash(
        self, settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uploads.begin(settings, MAX, "pets")

        def not_empty(folder: Path) -> None:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(folder))

        monkeypatch.setattr(upload_place.shutil, "rmtree", not_empty)
        with pytest.raises(Conflict, match="its name is free, and what is left goes by itself in 7 days"):
            uploads.abandon(settings, MAX, "pets")
        assert not uploads.begin(settings, MIA, "pets").resumes


class TestAbandonedUploads:
    def test_those_to_which_nobody_has_written_for_a_week_go(self, settings: Settings, root: Path) -> None:
        for name in ("old", "fresh", "written"):
            uploads.begin(settings, MAX, name)
        for name in ("nobodys", ".gone-1a2b"):
            (root / f".uploading-{name}").mkdir()
        (root / "pets").mkdir()
        (root / ".uploading-link").symlink_to(root / "pets")
        long_ago = time.time() - 8 * DAY
        for path in (
            ".uploading-old/by",
            ".uploading-written/by",
            ".uploading-nobodys",
            ".uploading-.gone-1a2b",
            "pets",
        ):
            os.utime(root / path, (long_ago, long_ago))
        body = json.dumps([piece("a", b"x")]).encode() + b"\nx"
        uploads.take_part(settings, MAX, "written", body)
        assert remove_abandoned(settings) == 3
        assert {path.name for path in root.iterdir()} == {
            ".uploading-fresh", ".uploading-written", ".uploading-link", "pets",
        }  # fmt: skip

    def test_without_a_data_root_there_is_nothing_to_do(self, settings: Settings) -> None:
        assert remove_abandoned(settings.model_copy(update={"data_roots": ()})) == 0

    def test_one_that_cannot_be_removed_does_not_keep_the_others(
        self, settings: Settings, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b"):
            uploads.begin(settings, MAX, name)
            os.utime(root / f".uploading-{name}" / "by", (0, 0))
        original = Path.rename

        def rename(path: Path, target: Path) -> Path:
            if path.name == ".uploading-a":
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return original(path, target)

        monkeypatch.setattr(Path, "rename", rename)
        assert remove_abandoned(settings) == 1
        assert [path.name for path in root.iterdir()] == [".uploading-a"]

    def test_the_api_looks_at_its_start(self, settings: Settings, root: Path) -> None:
        uploads.begin(settings, MAX, "old")
        os.utime(root / ".uploading-old" / "by", (0, 0))
        looks = AbandonedUploads(settings)
        looks.start()
        deadline = time.monotonic() + 30
        while list(root.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        looks.stop()
        assert list(root.iterdir()) == []
