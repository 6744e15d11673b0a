"""Starts `python -m trainer.main` as Ray's job agent would, against a small real server, and looks at its processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.trainer_service.report_server import ATTEMPT, LAUNCH_CODE, TOKEN, ReportServer
from trainer.contract.ends import EndReason
from trainer.contract.reports import Claim, LaunchPayload, Writer

MODEL = {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 1}}


@dataclass(frozen=True)
class RayHead:
    address: str
    environment: dict[str, str]
    node_id: str


def digits_spec(**changes: Any) -> dict[str, Any]:
    """A tiny two-worker run of the digits, some 10 ms a step."""
    return {
        "spec_version": 1, "model": MODEL, "data": {"name": "digits"}, "optimizer": {"name": "sgd", "lr": 0.1},
        "method": {"name": "looksam"}, "global_batch_size": 32, "steps": 30, "seed": 3,
        "logging": {"every_steps": 1}, "checkpoint": {"every_steps": 10},
        "evaluation": {"every_epochs": 1000}, "resources": {"workers": 2}, **changes,
    }  # fmt: skip


@dataclass
class Trainer:
    """A running driver."""

    process: subprocess.Popen[bytes]
    server: ReportServer
    folder: Path
    output: Path
    ended: Any = field(default=None)

    def wait(self, timeout_seconds: float = 240) -> int:
        return self.process.wait(timeout_seconds)

    def log(self, process: str) -> str:
        found = list((self.folder / "storage").glob(f"runs/r1/attempts/*/log/{process}.log"))
        return found[0].read_text() if found else ""

    def all_logs(self) -> str:
        return "\n".join([self.output.read_text(), *(self.log(name) for name in ("driver", "rank-0", "rank-1"))])

    def process_of(self, rank: int) -> int:
        """The rank's process id, as its log names it."""
        found: list[str] = []

        def read() -> bool:
            found[:] = re.findall(rf"Rank {rank} is process (\d+)", self.log(f"rank-{rank}"))
            return bool(found)

        self.until(read, f"rank {rank} to start")
        return int(found[-1])

    def until(self, condition: Callable[[], bool], what: str, timeout_seconds: float = 180) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.all_logs()}"
            time.sleep(0.05)

    def until_trained(self, step: int) -> None:
        self.until(
            lambda: any(report.step >= step for report in self.server.of(Writer.rank0, "metrics")), f"step {step}"
        )

    def until_gone(self, rank: int) -> None:
        """Ray ends a rank within a moment, one that is stopped within five seconds."""
        process_id = self.process_of(rank)
        self.until(lambda: not is_alive(process_id), f"rank {rank} to end", 15)

    def end(self) -> tuple[EndReason, str]:
        """What the driver reported last."""
        reports = self.server.of(Writer.driver, "ended")
        assert len(reports) == 1, self.all_logs()
        return reports[0].reason, reports[0].detail


def claim_of(folder: Path, spec: dict[str, Any], **changes: Any) -> Claim:
    return Claim(**{
        "run_id": "r1", "attempt_id": ATTEMPT, "attempt_number": 1, "attempt_token": TOKEN, "spec": spec,
        "storage": str(folder / "storage"), "lease_interval_seconds": 1.0, "timeouts": {"join": 60, "hang": 60},
        **changes,
    })  # fmt: skip


@contextmanager
def running(
    head: RayHead, folder: Path, spec: dict[str, Any], *, keep: Path | None = None, **claim: Any
) -> Iterator[Trainer]:
    """A driver on `spec`; killed at the end if it still runs: Ray then ends its ranks. `keep`: earlier checkpoints."""
    (folder / "storage").mkdir()
    if keep is not None:
        shutil.copytree(keep, folder / "storage/runs/r1/checkpoints")
    (folder / "storage/.basin-storage").write_text("the-proof\n")
    output = folder / "output.log"
    with ReportServer(claim_of(folder, spec, **claim)) as server, output.open("wb") as sink:
        payload = LaunchPayload(
            api_url=server.url, attempt_id=ATTEMPT, launch_code=LAUNCH_CODE, storage=str(folder / "storage"),
            spool=str(folder / "spool"),
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "trainer.main"], stdout=sink, stderr=subprocess.STDOUT,
            env={**head.environment, "RAY_ADDRESS": head.address, "BASIN_LAUNCH": payload.model_dump_json()},
        )  # fmt: skip
        try:
            yield Trainer(process, server, folder, output)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def is_alive(process_id: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def signal_process(process_id: int, number: int) -> None:
    os.kill(process_id, number)
