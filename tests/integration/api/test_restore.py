"""Wipe and restore: with PostgreSQL's own programs, and files on a real storage."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.backup.making import make_backup
from api.backup.manifest import DATABASE_FILE, MANIFEST_FILE, UNFINISHED, BackupRefused, read_manifest
from api.backup.postgres_tools import PostgresTools
from api.backup.restoring import plan_restore, restore
from api.db.migrate import migrate, migrate_back
from api.runs.collection import REPLACED_PREFIX, RESTORING_PREFIX
from tests.integration.api.backed_up import Place, live_run, silent, state_file
from tests.integration.api.conftest import serving


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
