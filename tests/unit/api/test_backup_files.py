"""Which files a backup takes, and how those of a restore change places with what is there."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.backup import placing
from api.backup.copying import StorageCopy
from api.backup.manifest import BackupRefused, RestoredInPart
from api.backup.restoring import _finish
from api.runs import collection
from api.runs.storage_state import PROBE_NAME
from api.settings import Settings

DAY_SECONDS = 86_400.0


def silent(phase: str, done: int, total: int | None) -> None:
    pass


def write(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def content_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def copied(storage: Path, folder: Path) -> dict[str, str]:
    StorageCopy(storage, folder, None, silent).take_all()
    return content_of(folder / "storage")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    write(tmp_path / "storage/.basin-storage", "proof")
    write(tmp_path / "storage/runs/a/checkpoints/step-1/state.pt", "weights")
    return tmp_path / "storage"


@pytest.fixture
def refused_folders(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of folders that cannot be listed; root, as whom tests may run, could list any."""
    names, scandir = set[str](), os.scandir

    def refusing(path: Any = ".") -> Any:
        if Path(path).name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return names


class TestCopy:
    def test_a_folder_that_cannot_be_read_is_refused_and_not_left_out(
        self, storage: Path, tmp_path: Path, refused_folders: set[str]
    ) -> None:
        refused_folders.add("checkpoints")
        with pytest.raises(
            BackupRefused, match=r"runs/a/checkpoints cannot be read \(Permission denied\).*as the user"
        ):
            copied(storage, tmp_path / "backup")

    def test_one_that_goes_meanwhile_is_no_failure(self, storage: Path, tmp_path: Path) -> None:
        copy = StorageCopy(storage, tmp_path / "backup", None, silent)
        copy.take_folder("runs/gone")
        assert copy.files == {}

    def test_what_is_of_use_for_a_moment_and_what_is_the_filesystems_stays_out(
        self, storage: Path, tmp_path: Path, refused_folders: set[str]
    ) -> None:
        expected = content_of(storage)
        for name in (
            f"{PROBE_NAME}-0a",
            ".doctor-0a/api",
            ".restoring-0a/runs/x",
            ".replaced-0a/runs/x",
            "lost+found/#1",
        ):
            write(storage / name)
        refused_folders.add("lost+found")
        assert copied(storage, tmp_path / "backup") == expected


class TestPlaces:
    def test_what_was_there_is_kept_aside_and_the_new_is_in_its_place(self, storage: Path) -> None:
        write(storage / "lost+found/#1")
        before = content_of(storage)
        write(storage / ".restoring-0a/runs/b/state.pt", "other")
        placing.change_places(storage, storage / ".restoring-0a", storage / ".replaced-0a")
        kept_aside = {path: text for path, text in before.items() if not path.startswith("lost+found")}
        assert content_of(storage / ".replaced-0a") == kept_aside
        assert (storage / "runs/b/state.pt").read_text() == "other"
        assert (storage / "lost+found/#1").exists()

    def test_a_rename_that_fails_leaves_everything_and_says_what_is_missing(
        self, storage: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, rename = content_of(storage), Path.rename
        fresh, old = storage / ".restoring-0a", storage / ".replaced-0a"
        write(fresh / "runs/b/state.pt", "other")

        def failing(self: Path, target: Path) -> Path:
            if self == fresh / "runs":
                raise OSError(5, "Input/output error", str(self))
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", failing)
        with pytest.raises(
            RestoredInPart,
            match=r"the database is restored and the files in .* are not \(.*runs: Input/output error\): .*--replace",
        ):
            _finish(cast(Any, None), storage, fresh, old)
        assert not old.exists()
        placing.sweep(storage)
        assert content_of(storage) == before

    def test_what_one_that_was_cut_off_left_is_room_and_goes(self, storage: Path) -> None:
        before = content_of(storage)
        free = placing.free_bytes(storage)
        for name in (".restoring-0a", ".replaced-0a"):
            write(storage / name / "runs/b/state.pt", "x" * (8 << 20))
        assert abs(placing.free_bytes(storage) - free) < 8 << 20
        placing.sweep(storage)
        assert content_of(storage) == before


class TestLeftovers:
    def test_each_kind_goes_after_a_day(self, storage: Path) -> None:
        settings = cast(Settings, SimpleNamespace(storage=storage))
        names = [".doctor-0a", ".restoring-0a", ".replaced-0a", f"{PROBE_NAME}-0a"]
        for name in names:
            write(storage / name if name.startswith(PROBE_NAME) else storage / name / "file")
        write(storage / f"{PROBE_NAME}-new")
        (storage / ".doctor-link").symlink_to(storage / "runs")
        for name in names:
            for path in (storage / name, storage / name / "file"):
                if path.exists():
                    long_ago = path.stat().st_mtime - 2 * DAY_SECONDS
                    os.utime(path, (long_ago, long_ago))
        found = list(collection._leftovers(cast(Any, None), settings, days=1.0, until=float("inf")))
        assert sorted(path.name for path in found) == sorted(names)
