"""A part that cannot start ends the whole start: one sentence, exit code 1, nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.stack.home import Home
from cli.stack.processes import Records, leftovers


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "up", "--slots=2"],
        env={**os.environ, "BASIN_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left(folder: Path) -> list[str]:
    """Processes that the ended stack left; its folder for sockets is removed."""
    home = Home(folder)
    config = home.read_config()
    assert config is not None
    shutil.rmtree(config.short_folder)
    return [str(process) for process in leftovers(home, config.stack_id, Records.read(home.records_file))]


def test_a_data_folder_of_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o700)
    (tmp_path / "postgres" / "PG_VERSION").write_text("9.6\n")
    process = start(tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.startswith("basin: postgres did not start (exit code 2): ")
    assert f"more in {tmp_path / 'logs' / 'postgres.log'}" in errors
    assert errors.count("\n") == 1
    assert left(tmp_path) == []


def test_ctrl_c_in_the_middle_of_a_start_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path)
    records = Home(tmp_path).records_file
    end = time.monotonic() + 60
    while len(Records.read(records)) < 3:  # Valkey, PostgreSQL and Ray have been started, none of them long ago.
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert left(tmp_path) == []
