"""Where faults strike: a stack with its storage on a small disk, whose trainers reach the API by a line of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cli.stack.home import Home, StackConfig
from tests.integration.faults.network import Line
from tests.integration.faults.small_disk import SmallDisk
from tests.integration.faults.watching import Watch
from tests.integration.running_stack import RunningStack

SETTINGS = {
    # The line is dead for 30 s: a run that is silent for so long is not to be stopped.
    "BASIN_SILENT_STOP_SECONDS": "120",
    # Each attempt that a full disk ends is a failure, and it is free again only when the test has seen one.
    "BASIN_MAX_FAILURES": "10",
}


@dataclass(frozen=True)
class Ground:
    """Made by `prepare`; `clear` ends all of it."""

    stack: RunningStack
    watch: Watch
    line: Line
    disk: SmallDisk | None
    """None where this user cannot mount one."""
    folder: Path

    @classmethod
    def prepare(cls, folder: Path) -> Self:
        disk = SmallDisk(folder / "disk") if SmallDisk.can_be_mounted() else None
        line = Line()
        settings = dict(SETTINGS)
        if disk is not None:
            disk.mount()
            settings["BASIN_STORAGE"] = str(disk.folder)
        config: list[StackConfig] = []

        def api_port() -> int:
            if not config:
                found = Home(folder / "home").read_config()
                assert found is not None
                config.append(found)
            return config[0].ports["api"]

        settings["BASIN_TRAINER_API_URL"] = f"http://127.0.0.1:{line.open(api_port)}"
        stack = RunningStack(folder / "home", settings=settings)
        try:
            stack.up()
        except BaseException:
            stack.close()
            line.close()
            if disk is not None:
                disk.unmount()
            raise
        return cls(stack, Watch(stack.api_url, stack.token), line, disk, folder)

    @property
    def storage(self) -> Path:
        return self.disk.folder if self.disk is not None else Home(self.stack.home).storage

    def clear(self) -> None:
        self.watch.__exit__()
        try:
            self.stack.close()
        finally:
            self.line.close()
            if self.disk is not None:
                self.disk.unmount()
