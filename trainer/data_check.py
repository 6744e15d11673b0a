"""`python -m trainer.data_check PATH`: says whether an image folder can be trained on, having decoded every image.

`basin data check` starts it and shows what it prints, one JSON object a line: {"event": "progress", "done", "total"},
then {"event": "report", ...}, or {"event": "refused", "sentence"}. Loads no torch. Exit codes: 0 fine, 1 a run would
fail, 2 refused, 130 interrupted by SIGINT (the report then says what was looked at).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from trainer.data_report import FolderReport, Remark, report
from trainer.datasets.census import Census, looks
from trainer.datasets.folder_files import Problem, scan
from trainer.datasets.roots import DataRoots
from trainer.errors import TrainerError

FINE, WOULD_FAIL, REFUSED, INTERRUPTED = 0, 1, 2, 130
PROGRESS_SECONDS = 0.1
VALIDATION_NAMES = ("validation", "val")
ROOTS_VARIABLE = "BASIN_DATA_ROOTS"


@dataclass
class _Check:
    num_processes: int
    roots: DataRoots
    folders: list[FolderReport] = field(default_factory=list)
    crashed: str = ""

    def find(self, name: str, written: str) -> None:
        """Looks for a folder's files. Raises TrainerError where there is no such folder."""
        remarks: list[Remark] = []

        def complain(problem: Problem, path: str, sentence: str) -> None:
            remarks.append(Remark(problem.value, path, sentence))

        path = DataRoots(None).find("", written)
        # Links are measured by the roots only where the folder lies in one: elsewhere it is still to be moved.
        roots = self.roots if self.roots.folders is not None and self.roots.holds(path) else DataRoots(None)
        files = scan(path, written, roots, complain=complain)
        self.folders.append(FolderReport(name=name, census=Census(files=files), remarks=remarks))

    def look(self) -> None:
        """Decodes everything."""
        try:
            self._look()
        except BrokenProcessPool:
            self.crashed = (
                "A process ended while it decoded an image: a crash of the decoder, or the machine is out of memory. "
                "Try again with --workers 1."
            )

    def _look(self) -> None:
        total = sum(len(folder.census.files) for folder in self.folders)
        done, told_at = 0, 0.0
        for folder in self.folders:
            with closing(looks(folder.census.files, self.num_processes)) as seen:
                for number, each in seen:
                    folder.census.add(number, each)
                    done += 1
                    if time.monotonic() - told_at > PROGRESS_SECONDS or done == total:
                        told_at = time.monotonic()
                        _print({"event": "progress", "done": done, "total": total})


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    variable = os.environ.get(ROOTS_VARIABLE)
    roots = DataRoots([root for root in variable.split(":") if root] if variable else None)
    check = _Check(options.workers, roots)
    complete = True
    try:
        for name, written in _folders(options.path, options.validation):
            check.find(name, written)
        check.look()
    except TrainerError as error:
        _print({"event": "refused", "sentence": error.detail})
        return REFUSED
    except KeyboardInterrupt:
        complete = False
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not check.folders:
        return INTERRUPTED
    found = report(check.folders, roots, complete=complete and not check.crashed, crashed=check.crashed)
    _print({"event": "report", **found})
    if not complete:
        return INTERRUPTED
    return WOULD_FAIL if found["would_fail"] or check.crashed else FINE


def _folders(path: str, validation: str | None) -> list[tuple[str, str]]:
    """Name and path: what was asked for, or the two halves that `path` holds by their usual names."""
    if validation is not None:
        return [("train", path), ("validation", validation)]
    for name in VALIDATION_NAMES:
        halves = os.path.join(path, "train"), os.path.join(path, name)
        if all(os.path.isdir(half) for half in halves):
            return list(zip(("train", "validation"), halves, strict=True))
    return [("train", path)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.data_check", description="Checks an image folder.")
    parser.add_argument("path", help="folder with one folder per class, or with train/ and validation/ or val/")
    parser.add_argument("--validation", help="folder of validation images")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that decode")
    return parser


def _print(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever wanted to know is gone
        os._exit(INTERRUPTED)
