"""Backup, wipe, restore: with PostgreSQL's own programs, and files on a real storage."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from api.backup import making
from api.backup.making import make_backup
from api.backup.manifest import DATABASE_FILE, MANIFEST_FILE, STORAGE_FOLDER, UNFINISHED, BackupRefused, read_manifest
from api.backup.postgres_tools import PostgresTools
from api.backup.restoring import plan_restore, restore, verify_backup
from api.db.migrate import migrate, migrate_back
from api.runs.collection import REPLACED_PREFIX, RESTORING_PREFIX
from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.hooked import environment_of
from tests.integration.api.stack import Api, checkpoint, metrics, progress

TABLES = (
    "users", "tokens", "runs", "attempts", "report_marks", "metric_names", "metric_points", "checkpoints", "events",
    "storage_proof",
)  # fmt: skip


def silent(phase: str, done: int, total: int | None) -> None:
    pass


@dataclass(frozen=True)
class Place:
    """A database with a storage."""

    settings: Settings
    engine: Engine

    @property
    def storage(self) -> Path:
        return self.settings.storage

    def rows(self) -> dict[str, list[str]]:
        """Every row of the tables that a restore must bring back, as text."""
        with self.engine.connect() as connection:
            return {
                name: sorted(connection.execute(text(f"SELECT CAST(t AS text) FROM {name} AS t")).scalars())
                for name in TABLES
            }

    def files(self) -> dict[str, tuple[str, int]]:
        """Path -> hash and time of change."""
        found = [path for path in self.storage.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.storage).as_posix(): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mtime_ns,
            )
            for path in found
        }


def save_checkpoint(storage: Path, run_id: str, step: int, content: bytes = b"weights") -> Path:
    """As the trainer does, with its manifest."""
    folder = storage / "runs" / run_id / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(content * 1000)
    digest = hashlib.sha256(content * 1000).hexdigest()
    files = {"state.pt": {"size_bytes": len(content) * 1000, "sha256": digest}}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "files": files}))
    return folder


def live_run(api: Api, *, step: int = 50) -> str:
    """With metrics, a checkpoint and a log."""
    run_id = api.new_run(study="backups")
    trainer = api.start(run_id)
    save_checkpoint(api.settings.storage, run_id, step)
    reports = [metrics(1, step, train_loss=0.5, validation_top1=91.25), progress(2, step), checkpoint(3, step, run_id)]
    assert api.report(trainer, *reports).status_code == 200
    log = api.settings.storage / "runs" / run_id / "attempts" / "1" / "log" / "rank-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("step 50\n")
    return run_id


@pytest.fixture
def original(settings: Settings, engine: Engine) -> Place:
    """Two runs, and nobody connected any more."""
    with serving(settings, engine) as api:
        live_run(api)
        live_run(api, step=60)
    return Place(settings, engine)


@pytest.fixture
def elsewhere(settings: Settings, empty_database_url: str, tmp_path: Path) -> Iterator[Place]:
    """A database without tables and a storage without files."""
    new = settings.model_copy(update={"database_url": empty_database_url, "storage": tmp_path / "new-storage"})
    engine = create_engine(empty_database_url)
    yield Place(new, engine)
    engine.dispose()


@pytest.fixture
def saved(original: Place, tmp_path: Path) -> Path:
    folder = tmp_path / "backups" / "monday"
    make_backup(original.settings, folder, silent)
    return folder


class TestRestore:
    def test_runs_metrics_artifacts_and_tokens_are_back_after_a_wipe(self, original: Place, saved: Path) -> None:
        rows, files = original.rows(), original.files()
        with original.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        shutil.rmtree(original.storage)
        restore(original.settings, saved, silent, replace=False)
        assert original.rows() == rows
        assert original.files() == files

    def test_another_installation_serves_what_was_saved(self, original: Place, saved: Path, elsewhere: Place) -> None:
        restore(elsewhere.settings, saved, silent, replace=False)
        with serving(elsewhere.settings, elsewhere.engine) as api:
            runs = api.get("/runs", study="backups").json()["items"]
            assert len(runs) == 2
            run = next(run for run in runs if run["step"] == 60)
            series = api.get(f"/runs/{run['id']}/metrics", names="validation_top1").json()["series"]
            assert (series[0]["steps"], series[0]["values"]) == ([60], [91.25])
            [point] = api.get(f"/runs/{run['id']}/checkpoints").json()["items"]
            assert (elsewhere.storage / point["path"] / "state.pt").read_bytes() == b"weights" * 1000
            assert api.new_run()

    def test_what_came_after_the_backup_goes_only_when_asked(self, original: Place, saved: Path) -> None:
        with serving(original.settings, original.engine) as api:
            later = live_run(api)
        before = original.rows(), original.files()
        with pytest.raises(BackupRefused, match=r"there are 3 runs in .* --replace removes them"):
            restore(original.settings, saved, silent, replace=False)
        assert (original.rows(), original.files()) == before
        restore(original.settings, saved, silent, replace=True)
        assert later not in {run for run in original.rows()["runs"] if later in run}
        assert not (original.storage / "runs" / later).exists()
        assert not [
            path for path in original.storage.iterdir() if path.name.startswith((RESTORING_PREFIX, REPLACED_PREFIX))
        ]

    def test_the_plan_says_what_will_be_gone(self, original: Place, saved: Path) -> None:
        plan = plan_restore(original.settings, saved)
        assert (plan.rows["runs"], plan.runs_there, plan.files_there, plan.replaces) == (2, 2, True, True)
        assert plan.warnings == ()
        other_secret = original.settings.model_copy(update={"secret": type(original.settings.secret)("y" * 32)})
        assert "BASIN_SECRET is not the one of the backup" in plan_restore(other_secret, saved).warnings[0]

    def test_it_waits_for_nobody_who_still_writes(self, original: Place, saved: Path) -> None:
        with (
            serving(original.settings, original.engine),
            pytest.raises(BackupRefused, match="basin-api is connected to the database: stop API"),
        ):
            restore(original.settings, saved, silent, replace=True)

    def test_nobody_comes_back_while_the_files_are_copied(
        self, original: Place, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = original.rows(), original.files()
        starting = contextlib.ExitStack()

        def copy_for_hours(*_: object) -> None:
            starting.enter_context(serving(original.settings, original.engine))

        monkeypatch.setattr("api.backup.restoring.copy_beside", copy_for_hours)
        with starting, pytest.raises(BackupRefused, match="basin-api is connected to the database"):
            restore(original.settings, saved, silent, replace=True)
        assert (original.rows(), original.files()) == before

    def test_a_pg_restore_that_dies_half_way_leaves_everything(
        self, original: Place, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = original.rows(), original.files()
        settings = original.settings.model_copy(update={"postgres_bin": dying_pg_restore(original, saved, tmp_path)})
        with pytest.raises(BackupRefused, match=r"not restored and is as it was: pg_restore ended with -9"):
            restore(settings, saved, silent, replace=True)
        assert (original.rows(), original.files()) == before

    def test_what_was_seen_of_another_cluster_is_forgotten_and_what_an_admin_wished_is_not(
        self, original: Place, tmp_path: Path, elsewhere: Place
    ) -> None:
        with original.engine.begin() as connection:
            connection.execute(text("INSERT INTO canaries (sender, taken_at) VALUES ('beat', now())"))
            connection.execute(text("INSERT INTO diagnosis_parts (diagnosis_id, part) VALUES ('a', 'api')"))
            connection.execute(text("INSERT INTO drained_hosts (host, by) VALUES ('host-a', 'user:ada')"))
        make_backup(original.settings, tmp_path / "one", silent)
        restore(elsewhere.settings, tmp_path / "one", silent, replace=False)
        with elsewhere.engine.connect() as connection:
            for name, count in (("canaries", 0), ("diagnosis_parts", 0), ("drained_hosts", 1)):
                assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() == count, name

    def test_a_backup_from_before_there_were_canaries_comes_back(
        self, original: Place, tmp_path: Path, elsewhere: Place
    ) -> None:
        migrate_back(original.engine, "0007")
        make_backup(original.settings, tmp_path / "old", silent)
        restore(elsewhere.settings, tmp_path / "old", silent, replace=False)
        migrate(original.engine)
        assert elsewhere.rows() == original.rows()

    def test_a_dump_that_fails_half_way_leaves_everything(
        self, original: Place, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = original.rows(), original.files()
        monkeypatch.setattr("api.backup.restoring.FORGET", "SELECT 1 / 0")  # The last statement of the transaction.
        with pytest.raises(BackupRefused, match=r"not restored and is as it was: .*division by zero"):
            restore(original.settings, saved, silent, replace=True)
        assert (original.rows(), original.files()) == before


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_manifest(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def state_file(folder: Path) -> Path:
    return next((folder / STORAGE_FOLDER).rglob("state.pt"))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte of a checkpoint": (lambda f: flip_a_byte(state_file(f)), "state.pt is not as it was saved"),
    "a byte of the dump": (lambda f: flip_a_byte(f / DATABASE_FILE), "database.dump is not as it was saved"),
    "a file that is gone": (lambda f: state_file(f).unlink(), "state.pt cannot be read"),
    "a dump that is cut off": (lambda f: os.truncate(f / DATABASE_FILE, 100), "has 100 bytes and should have"),
    "a backup that was cut off": (lambda f: (f / UNFINISHED).touch(), "was cut off"),
    "no manifest": (lambda f: (f / MANIFEST_FILE).unlink(), "there is no manifest.json"),
    "a manifest that is cut off": (lambda f: os.truncate(f / MANIFEST_FILE, 50), "cannot be read"),
    "a manifest without a field": (lambda f: change_manifest(f, files=[{"path": "x"}]), "is damaged"),
    "a way out of the storage": (
        lambda f: change_manifest(f, files=[{"path": "../x", "bytes": 1, "sha256": "", "mtime_ns": 1}]),
        "lies outside the storage",
    ),
    "tables of a later version": (lambda f: change_manifest(f, migration="9999"), "install that version or a newer"),
    "another format": (lambda f: change_manifest(f, format=2), "is of format 2, this version reads 1"),
    "a later PostgreSQL": (lambda f: change_manifest(f, postgres_version=99), "restore to a server of version 99"),
}


class TestDamage:
    def test_each_kind_is_refused_and_nothing_is_overwritten(self, original: Place, saved: Path) -> None:
        before = original.rows(), original.files()
        for kind, (damage, told) in DAMAGE.items():
            damaged = saved.with_name(kind.replace(" ", "-"))
            shutil.copytree(saved, damaged)
            damage(damaged)
            with pytest.raises(BackupRefused, match=told):
                restore(original.settings, damaged, silent, replace=True)
            assert (original.rows(), original.files()) == before, kind


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


def dying_pg_restore(place: Place, backup: Path, folder: Path) -> Path:
    """A folder with PostgreSQL's programs, whose pg_restore is killed once it has written the tables."""
    real = PostgresTools(place.settings.database_url, at_least=read_manifest(backup).postgres_version)._folder
    there = folder / "dying"
    there.mkdir()
    for name in ("pg_dump", "psql"):
        (there / name).write_text(f'#!/bin/sh\nexec {real / name} "$@"\n')
    (there / "pg_restore").write_text(
        f'#!/bin/sh\ncase "$*" in *--list*|*--version*) exec {real}/pg_restore "$@";; esac\n'
        f"{real}/pg_restore \"$@\" | sed '/^COPY public.runs /q'\nkill -9 $$\n"
    )
    for program in there.iterdir():
        program.chmod(0o755)
    return there


def command(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BASIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "api.backup", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **environment_of(settings)},
    )
