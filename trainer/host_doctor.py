"""`python -m trainer.host_doctor`: whether this machine can train, before Ray starts on it, or as a Ray job on a node.

Not the doctor of a training spec, which is `trainer/doctor.py`. Looks at the driver and the GPUs, shared memory, disks,
the storage, the API's address, clocks, versions, and lets two processes sum a tensor. What is not said is taken from
the environment: BASIN_STORAGE, BASIN_SPOOL, BASIN_TRAINER_API_URL or BASIN_API_URL. Exit codes: 0 nothing failed (there
may be warnings), 1 something did.

As a job of `basin doctor` it gets what to compare with in BASIN_DOCTOR and prints one line that begins with the
marker, which the Celery worker reads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from trainer.contract import folders
from trainer.contract.build import same_version
from trainer.contract.diagnosis import MARKER, NodeTask
from trainer.contract.findings import Check, Finding, Found, Verdict, run_checks, worst
from trainer.host import gpus, service
from trainer.host.all_reduce import SECONDS, all_reduce

VARIABLE = "BASIN_DOCTOR"
PART = "this machine"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; returns the exit code."""
    given = _parser().parse_args(arguments)
    task = NodeTask.model_validate_json(os.environ[VARIABLE]) if VARIABLE in os.environ else _task_of(given)
    findings = examine(task, shm=given.shm)
    if VARIABLE in os.environ:
        print(MARKER + json.dumps([finding.model_dump(mode="json") for finding in findings]), flush=True)
    elif given.json:
        print(json.dumps([finding.model_dump(mode="json") for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding.sentence)
    return int(worst(findings) is Verdict.failed)


def examine(task: NodeTask, *, shm: Path = folders.SHARED_MEMORY) -> list[Finding]:
    """Every check that the task has something to compare with, each with a time-out of its own."""
    return run_checks(task.part, [*_gpu_checks(task), *_folder_checks(task, shm), *_service_checks(task), *_sums(task)])


def _gpu_checks(task: NodeTask) -> list[Check]:
    # torch is asked once, by whichever of the two comes first.
    torch, expected = cache(gpus.ask_torch), task.gpus
    hangs = "Look at `nvidia-smi` and `dmesg`: a driver that hangs needs the host to be started again"
    if not expected and not gpus.gpus_there():
        return []

    def judged(judge: Callable[[gpus.Driver, gpus.Torch], Found]) -> Found:
        driver = gpus.ask_driver()
        if driver is None or not gpus.has_cuda_library():
            return gpus.without_driver(driver, expected=expected)
        return judge(driver, torch())

    def version(driver: gpus.Driver, torch: gpus.Torch) -> Found:
        return gpus.judge_driver(driver, torch, expected=expected)

    def count(driver: gpus.Driver, torch: gpus.Torch) -> Found:
        return gpus.judge_count(driver, torch, expected=expected, visible=gpus.visible_devices())

    seconds = gpus.TORCH_SECONDS + 5
    return [
        Check(name="driver", look=lambda: judged(version), seconds=seconds, if_it_hangs=hangs),
        Check(name="GPUs", look=lambda: judged(count), seconds=seconds, if_it_hangs=hangs),
    ]


def _folder_checks(task: NodeTask, shm: Path) -> list[Check]:
    spool = Path(task.spool) if task.spool else Path(tempfile.gettempdir()) / "basin-spool"
    checks = [
        Check(name="shared memory", look=lambda: folders.shared_memory(task.gpus, shm)),
        Check(name="spool", look=lambda: folders.writable(spool)),
        Check(name="spool disk", look=lambda: folders.free_disk(spool, "the spool")),
        Check(name="temporary disk", look=lambda: folders.temporary_disk(Path(tempfile.gettempdir()))),
    ]
    if task.storage is None:
        return checks
    storage = Path(task.storage)
    checks.append(Check(name="storage", look=lambda: folders.own_storage(storage)))
    checks.append(Check(name="storage disk", look=lambda: folders.free_disk(storage, "the storage")))
    if task.probes:
        look = Path(task.storage) / task.probe_folder
        checks.append(
            Check(name="shared storage", look=lambda: folders.shared_storage(look, task.probes, task.probe_name))
        )
    return checks


def _service_checks(task: NodeTask) -> list[Check]:
    checks = [Check(name="locked versions", look=service.locked_versions)]
    if task.api_url is not None:
        api = service.Api(task.api_url)
        checks.append(Check(name="API", look=lambda: service.reachable(api)))
        checks.append(Check(name="clock", look=lambda: service.clock(api)))
        expected = task.versions or None
        checks.append(
            Check(
                name="version",
                look=lambda: same_version(
                    expected or {"basin": api.health().get("version"), "revision": api.health().get("revision")},
                    "the API",
                ),
            )
        )
    if task.ray_version is not None:
        checks.append(Check(name="Ray", look=lambda: service.ray_version(task.ray_version)))
    return checks


def _sums(task: NodeTask) -> list[Check]:
    """nccl only with a GPU for each of two processes."""
    backends = ["gloo", *(["nccl"] if task.gpus >= 2 else [])]
    return [
        Check(name=f"all-reduce ({backend})", look=lambda backend=backend: all_reduce(backend), seconds=SECONDS + 15)  # type: ignore[misc]
        for backend in backends
    ]


def _task_of(given: argparse.Namespace) -> NodeTask:
    expected = gpus.expected_gpus() if given.gpus is None else given.gpus
    return NodeTask(part=PART, gpus=expected, storage=given.storage, spool=given.spool, api_url=given.api)


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    api = environment.get("BASIN_TRAINER_API_URL") or environment.get("BASIN_API_URL")
    parser = argparse.ArgumentParser(
        prog="python -m trainer.host_doctor", description="Whether this machine can train."
    )
    parser.add_argument("--gpus", type=int, help="GPUs that must be usable; default: those there are")
    parser.add_argument("--storage", default=environment.get("BASIN_STORAGE"), help="default: BASIN_STORAGE")
    parser.add_argument("--spool", default=environment.get("BASIN_SPOOL"), help="default: BASIN_SPOOL")
    parser.add_argument("--api", default=api, help="default: BASIN_TRAINER_API_URL, then BASIN_API_URL")
    parser.add_argument("--shm", type=Path, default=folders.SHARED_MEMORY, help="shared memory; default: /dev/shm")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # A check that hangs, on a network's folder say, must not keep the process.
