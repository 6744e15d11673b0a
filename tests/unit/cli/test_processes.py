"""Processes are recognised by pid and start time, by their mark, and by the session of a recorded one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.stack.home import Home
from cli.stack.processes import Record, Records, dies_with_parent, end_leftovers, leftovers, marked, with_ancestors

SLEEP = "import time; time.sleep(60)"
# Overwrites its own environment, as Ray's processes do with their title.
SLEEP_UNMARKED = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}], env={{}})"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start(code: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, start_new_session=True)


def wait_for_child(process: subprocess.Popen[bytes]) -> psutil.Process:
    end = time.monotonic() + 20
    while not (children := psutil.Process(process.pid).children()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return children[0]


def test_ancestors_end_where_one_dies_meanwhile() -> None:
    """psutil's own `parents` raises there: the guard once looked just when the supervisor was collected."""
    here = [os.getpid(), *(parent.pid for parent in psutil.Process().parents())]
    assert [process.pid for process in with_ancestors(psutil.Process())] == here
    child = subprocess.Popen([sys.executable, "-c", SLEEP])
    seen = psutil.Process(child.pid)
    child.kill()
    child.wait()
    with pytest.raises(psutil.NoSuchProcess):
        seen.parents()
    assert list(with_ancestors(seen)) == [seen]


def test_a_marked_process_is_ours_whoever_started_it(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    started.append(start(SLEEP, Path("/"), marked(os.environ, "stack-1", "ray")))
    started.append(start(SLEEP, Path("/"), marked(os.environ, "stack-2", "ray")))
    started.append(start(SLEEP, Path("/"), dict(os.environ)))
    time.sleep(0.2)
    assert [process.pid for process in leftovers(home, "stack-1", [])] == [started[0].pid]
    assert leftovers(home, "stack-1", [], part="celery") == []


def test_an_unmarked_child_is_ours_by_its_session_and_folder(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    leader = start(SLEEP_UNMARKED, home.run, marked(os.environ, "stack-1", "celery"))
    started.append(leader)
    record = Records(home.records_file).add("celery", leader.pid)
    child = wait_for_child(leader)
    leader.kill()
    leader.wait()
    assert [process.pid for process in leftovers(home, "stack-1", Records.read(home.records_file))] == [child.pid]
    assert end_leftovers(home, "stack-1", [record]) == 1
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_got_the_pid_of_a_recorded_one_is_left_alone(
    home: Home, started: list[subprocess.Popen[bytes]]
) -> None:
    started.append(start(SLEEP, home.run, dict(os.environ)))
    stranger = Record("api", started[0].pid, time.time() + 3600)
    assert not stranger.is_alive()
    assert leftovers(home, "stack-1", [stranger]) == []


def test_leftovers_get_time_to_end_by_themselves(home: Home, started: list[subprocess.Popen[bytes]]) -> None:
    code = f"import signal, pathlib; signal.signal(15, lambda *_: (pathlib.Path('bye').touch(), exit())); {SLEEP}"
    started.append(start(code, home.run, marked(os.environ, "stack-1", "api")))
    time.sleep(0.5)
    assert end_leftovers(home, "stack-1", [], patience_seconds=10) == 1
    assert started[0].wait(1) == 0
    assert (home.run / "bye").exists()


def test_damaged_records_count_as_none(home: Home) -> None:
    for text in ("", "{", '[{"pid": 1}]', "3"):
        home.records_file.write_text(text, encoding="utf-8")
        assert Records.read(home.records_file) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_a_child_dies_with_its_parent(home: Home) -> None:
    parent = subprocess.Popen(
        [
            sys.executable, "-c",
            "import subprocess, sys, signal, time\n"
            "from cli.stack.processes import dies_with_parent\n"
            f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}],"
            " preexec_fn=dies_with_parent(signal.SIGKILL), start_new_session=True)\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert gone or alive[0].status() == psutil.STATUS_ZOMBIE


def test_a_child_whose_parent_is_gone_already_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    set_death_signal = dies_with_parent(signal.SIGKILL)
    if set_death_signal is None:
        pytest.skip("the kernel's death signal is Linux's")
    pid = os.fork()
    if pid == 0:  # Its parent is this test, whose pid is the one remembered: nothing ends it.
        set_death_signal()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    pid = os.fork()
    if pid == 0:  # A grandchild has another parent than the one remembered.
        inner = os.fork()
        if inner == 0:
            set_death_signal()
            os._exit(7)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
