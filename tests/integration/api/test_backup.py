"""Backups: with PostgreSQL's own programs, of files on a real storage."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.backup import making
from api.backup.making import make_backup
from api.backup.manifest import MANIFEST_FILE, STORAGE_FOLDER, UNFINISHED, BackupRefused, read_manifest
from api.backup.restoring import restore, verify_backup
from api.settings import Settings
from tests.integration.api.backed_up import Place, silent, state_file
from tests.integration.api.hooked import environment_of


class TestMaking:
    def test_the_next_one_shares_what_has_not_changed(self, original: Place, saved: Path) -> None:
        log = next(original.storage.rglob("rank-0.log"))
        log.write_text("step 50\nstep 51\n")
        tuesday = saved.with_name("tuesday")
        made = make_backup(original.settings, tuesday, silent)
        assert made.base == str(saved)
        assert made.linked == len(made.manifest.files) - 1
        assert state_file(saved).stat().st_ino == state_file(tuesday).stat().st_ino
        relative = log.relative_to(original.storage)
        assert (saved / STORAGE_FOLDER / relative).read_text() == "step 50\n"
        assert (tuesday / STORAGE_FOLDER / relative).read_text() == "step 50\nstep 51\n"
        shutil.rmtree(saved)
        verify_backup(original.settings, tuesday, silent)

    def test_the_storage_itself_is_never_shared(self, original: Place, saved: Path) -> None:
        inodes = {path.stat().st_ino for path in original.storage.rglob("*")}
        assert not inodes & {path.stat().st_ino for path in saved.rglob("*")}

    def test_what_is_half_written_or_a_link_stays_out(self, original: Place, saved: Path, tmp_path: Path) -> None:
        run = next((original.storage / "runs").iterdir())
        (run / "checkpoints" / ".writing-step-00000070-ab").mkdir()
        (run / "checkpoints" / ".writing-step-00000070-ab" / "state.pt").write_text("half")
        (run / "link").symlink_to("/etc/passwd")
        made = make_backup(original.settings, tmp_path / "more" / "one", silent)
        assert {file.path for file in made.manifest.files} == {file.path for file in read_manifest(saved).files}

    def test_a_checkpoint_that_goes_during_the_dump_is_in_the_backup(
        self, original: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run that trains removes the one that the snapshot names while the dump is written."""
        gone = state_file_of(original).parent
        dump = making.PostgresTools.dump

        def slow_dump(self: making.PostgresTools, file: Path, snapshot: str) -> None:
            dump(self, file, snapshot)
            shutil.rmtree(gone)

        monkeypatch.setattr(making.PostgresTools, "dump", slow_dump)
        made = make_backup(original.settings, tmp_path / "one", silent)
        assert (gone / "state.pt").relative_to(original.storage).as_posix() in {f.path for f in made.manifest.files}

    def test_checkpoints_that_go_before_they_are_copied_are_no_backup(
        self, original: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone = state_file_of(original)

        def too_late(self: making.StorageCopy, relative: str) -> None:
            if gone.exists():
                gone.unlink()

        monkeypatch.setattr(making.StorageCopy, "take_folder", too_late)
        monkeypatch.setattr(making, "_is_faithful", lambda *_: False)
        with pytest.raises(BackupRefused, match="changed faster than they could be copied, 3 times: pause"):
            make_backup(original.settings, tmp_path / "one", silent)
        assert not (tmp_path / "one" / MANIFEST_FILE).exists()

    @pytest.mark.parametrize(
        ("folder", "told"),
        [
            ("storage/inside", "lie in each other"),
            ("full", "is not empty"),
            ("backups/monday", "holds a backup already"),
        ],
    )
    def test_where_it_may_not_go(self, original: Place, saved: Path, tmp_path: Path, folder: str, told: str) -> None:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "letter.txt").write_text("mine")
        with pytest.raises(BackupRefused, match=told):
            make_backup(original.settings, tmp_path / folder, silent)
        assert (tmp_path / "full" / "letter.txt").read_text() == "mine"

    def test_a_storage_that_is_away_is_not_backed_up_as_an_empty_one(self, original: Place, tmp_path: Path) -> None:
        original.storage.rename(tmp_path / "unmounted")
        original.storage.mkdir()
        with pytest.raises(BackupRefused, match="mount the storage of this database"):
            make_backup(original.settings, tmp_path / "one", silent)

    def test_programs_that_are_too_old_are_named(self, original: Place, tmp_path: Path) -> None:
        for name in ("pg_dump", "pg_restore", "psql"):
            program = tmp_path / "old" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 9.6'\n")
            program.chmod(0o755)
        settings = original.settings.model_copy(update={"postgres_bin": tmp_path / "old"})
        with pytest.raises(
            BackupRefused, match=r"or newer are needed and there are 9 in .*: install postgresql-client-"
        ):
            make_backup(settings, tmp_path / "one", silent)


class TestCommand:
    def test_one_that_is_interrupted_does_not_look_whole_and_can_be_made_again(
        self, original: Place, tmp_path: Path
    ) -> None:
        folder = tmp_path / "one"
        run = next((original.storage / "runs").iterdir())
        with (run / "large").open("wb") as file:
            file.truncate(4 << 30)  # Without blocks, but read like any other.
        making_it = command(original.settings, "make", str(folder))
        assert making_it.stdout is not None
        for line in making_it.stdout:
            message = json.loads(line)
            if message.get("phase") == "files" and message["done"] < message["total"]:
                break
        making_it.send_signal(signal.SIGINT)
        making_it.communicate(timeout=30)
        assert making_it.returncode == 130
        assert (folder / UNFINISHED).exists()
        with pytest.raises(BackupRefused, match="was cut off"):
            restore(original.settings, folder, silent, replace=True)
        (run / "large").unlink()
        make_backup(original.settings, folder, silent)
        verify_backup(original.settings, folder, silent)

    def test_a_database_that_is_away_is_a_sentence(self, original: Place, tmp_path: Path) -> None:
        away = original.settings.model_copy(update={"database_url": "postgresql+psycopg://basin:a-word@127.0.0.1:1/x"})
        process = command(away, "make", str(tmp_path / "one"))
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "is it up?" in json.loads(printed.splitlines()[-1])["sentence"]


def state_file_of(place: Place) -> Path:
    return next(place.storage.rglob("state.pt"))


def command(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BASIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "api.backup", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **environment_of(settings)},
    )
