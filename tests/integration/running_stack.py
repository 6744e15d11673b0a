"""A real `basin up` under a test: started as a person starts it, looked at and disturbed from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from cli.client import Client
from cli.stack.control import ask
from cli.stack.home import Home, StackConfig
from cli.stack.processes import Records, leftovers

LEASE_TIMEOUT_SECONDS = 3.0
SHORTENED = {
    "BASIN_LEASE_INTERVAL_SECONDS": "1",
    "BASIN_LEASE_TIMEOUT_SECONDS": f"{LEASE_TIMEOUT_SECONDS:g}",
    "BASIN_RECONCILE_SECONDS": "0.5",
    "BASIN_CANCEL_GRACE_SECONDS": "20",
    "BASIN_SILENT_STOP_SECONDS": "30",
    "BASIN_LAUNCH_TIMEOUT_SECONDS": "90",
    "BASIN_WEBHOOK_PRIVATE_HOSTS": "127.0.0.1",
}
UP_SECONDS = 240.0
DOWN_SECONDS = 120.0
SLOTS = 2


class RunningStack:
    """One stack; `up` waits until it is ready."""

    lease_timeout_seconds = LEASE_TIMEOUT_SECONDS

    def __init__(
        self,
        home: Path,
        *,
        arguments: tuple[str, ...] = (f"--slots={SLOTS}",),
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`settings`: variables of Basin beside the shortened times."""
        self.home = home
        self.settings = settings
        self.arguments = arguments
        self.output = home.parent / f"{home.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None
        self._output_before = 0
        """Characters that earlier starts had printed."""

    @property
    def supervisor_pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def config(self) -> StackConfig:
        config = Home(self.home).read_config()
        assert config is not None
        return config

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.config.ports['api']}"

    @property
    def token(self) -> str:
        token = Home(self.home).token()
        assert token is not None
        return token

    @property
    def client(self) -> Client:
        """One for the whole life of the stack; `close` ends it."""
        if self._client is None:
            self._client = Client(self.api_url, self.token)
        return self._client

    def close(self) -> None:
        """Ctrl-C if it runs, and nothing may be left."""
        if self._client is not None:
            self._client.close()
        if self.process is not None and self.process.poll() is None:
            assert self.interrupt() == 0, self.tail()
        self.wait_until_gone()
        shutil.rmtree(self.config.short_folder, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BASIN_", "RAY_"))}
        return {**kept, **SHORTENED, **self.settings, "BASIN_HOME": str(self.home)}

    def up(self) -> RunningStack:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "up", *self.arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: self._is_up(), "the stack is up", UP_SECONDS, self.tail)
        return self

    up_again = up

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the stack ended with {self.process.returncode}:\n{self.tail()}"
        # The line with the link is the last that a start prints.
        return "/#token=" in self.output.read_text(encoding="utf-8", errors="replace")[self._output_before :]

    def tail(self) -> str:
        return "\n".join(self.output.read_text(encoding="utf-8", errors="replace").splitlines()[-40:])

    def ended(self) -> int:
        """After Ctrl-C: the supervisor's exit code."""
        assert self.process is not None
        code = self.process.wait(DOWN_SECONDS)
        self._remember_output()
        return code

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def kill_supervisor(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._remember_output()

    def _remember_output(self) -> None:
        self._output_before = len(self.output.read_text(encoding="utf-8", errors="replace"))

    def wait_until_gone(self, within: float = 120.0) -> None:
        until(lambda: not self.left(), "no process of the stack is left", within, lambda: str(self.left()))

    def left(self) -> list[psutil.Process]:
        """Living processes of this stack, the supervisor apart."""
        home = Home(self.home)
        return leftovers(home, self.config.stack_id, Records.read(home.records_file))

    def let_ranks_wait(self) -> None:
        """For runs that only hold slots: their ranks train with what nobody else needs of the machine."""
        for process in self.left():
            if "ray::RankActor" in " ".join(process.cmdline()):
                for thread in process.threads():
                    os.setpriority(os.PRIO_PROCESS, thread.id, 19)

    def seen(self, part: str) -> dict[str, Any]:
        """What `basin stack status` says of a part: state, pid, restarts."""
        parts = ask(Home(self.home), "status")["parts"]
        found: dict[str, Any] = next(row for row in parts if row["part"] == part)
        return found

    def pid(self, part: str) -> int:
        pid = self.seen(part)["pid"]
        assert isinstance(pid, int), f"{part} is not running: {self.seen(part)}"
        return pid

    def kill(self, part: str) -> int:
        """kill -9; returns the pid it had."""
        pid = self.pid(part)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self, part: str) -> None:
        """Held down until `start`."""
        ask(Home(self.home), "stop", part)

    def start(self, part: str) -> None:
        """Returns when the part is ready."""
        ask(Home(self.home), "start", part)

    def wait_until_back(self, part: str, old_pid: int, within: float = 180.0) -> int:
        """Until the part is ready with another pid, which is returned."""

        def back() -> bool:
            seen = self.seen(part)
            # Just after a death there is no pid, while the state still says ready.
            return seen["state"] == "ready" and seen["pid"] not in (None, old_pid)

        until(back, f"{part} is back", within, self.tail)
        return self.pid(part)

    def basin(self, *arguments: str, check: bool = True, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command line against this stack."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", *arguments],
            env={**self.environment(), "NO_COLOR": "1", "COLUMNS": "200"},
            input=text,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not re.search(r"^Traceback", done.stdout + done.stderr, re.MULTILINE), done.stderr
        assert not check or done.returncode == 0, f"basin {arguments}: exit code {done.returncode}\n{done.stderr}"
        return done

    def basin_json(self, *arguments: str) -> Any:
        return json.loads(self.basin(*arguments, "--json").stdout)


def until(true: Any, what: str, within: float, shown: Any) -> None:
    """Polls until `true()`; fails with `shown()` after `within` seconds."""
    give_up_at = time.monotonic() + within
    while not true():
        assert time.monotonic() < give_up_at, f"after {within:g} s not seen: {what}\n{shown()}"
        time.sleep(0.1)
