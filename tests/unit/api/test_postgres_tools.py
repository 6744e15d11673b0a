"""A restore's transaction: committed only when pg_restore has written all of it. The programs are stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.backup.manifest import BackupRefused
from api.backup.postgres_tools import PostgresTools

VERSION = 'case "$1" in --version) echo "$(basename "$0") (PostgreSQL) 18.0"; exit;; esac\n'
LISTED = 'case "$*" in *--list*) exit;; esac\n'


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{VERSION}{script}")
    path.chmod(0o755)


class Tools:
    """The three programs, and what psql was given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program(folder / "pg_dump", "exit 1\n")
        self.psql(f"cat > {folder}/given\n")

    def psql(self, script: str) -> None:
        program(self._folder / "psql", script)

    def pg_restore(self, script: str) -> None:
        program(self._folder / "pg_restore", LISTED + script)

    def load(self) -> str:
        """Raises BackupRefused."""
        address = "postgresql+psycopg://basin:a-word@127.0.0.1:1/basin"
        PostgresTools(address, at_least=18, given=self._folder).load(Path("database.dump"), "SELECT 'forgotten'")
        return self.given

    @property
    def given(self) -> str:
        return (self._folder / "given").read_text()


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


def test_the_commit_follows_a_whole_script(tools: Tools) -> None:
    tools.pg_restore("echo 'CREATE TABLE a ();'\n")
    assert tools.load().split("\n") == ["CREATE TABLE a ();", "", "SELECT 'forgotten';", "COMMIT;", ""]


@pytest.mark.parametrize(
    ("end", "told"),
    [("kill -9 $$", r"pg_restore ended with -9"), ("echo 'error: bad header' >&2; exit 1", "ended with 1: error: bad")],
)
def test_a_script_that_is_cut_off_is_not_committed(tools: Tools, end: str, told: str) -> None:
    tools.pg_restore(f"echo 'CREATE TABLE a ();'\n{end}\n")
    with pytest.raises(BackupRefused, match=f"was not restored and is as it was: .*{told}"):
        tools.load()
    assert tools.given == "CREATE TABLE a ();\n"


def test_what_psql_says_is_told_though_the_script_could_not_be_written(tools: Tools) -> None:
    tools.psql("read line; echo 'psql:<stdin>:1: ERROR:  no such thing' >&2; exit 3\n")
    tools.pg_restore("while echo 'CREATE TABLE a ();'; do :; done 2>/dev/null\n")
    with pytest.raises(BackupRefused, match="is as it was: psql:<stdin>:1: ERROR:  no such thing"):
        tools.load()


def test_much_said_on_the_way_holds_nobody_up(tools: Tools) -> None:
    much = "yes 'NOTICE:  drop cascades' | head -c 300000 >&2\n"
    tools.psql(f'{much}cat > "$(dirname "$0")/given"\n')
    tools.pg_restore(f"{much}echo 'CREATE TABLE a ();'\n")
    assert tools.load().endswith("COMMIT;\n")
