"""`python -m api.backup make|plan|verify|restore FOLDER`: what `basin admin backup` and `restore` start.

Prints one JSON object a line: {"event": "progress", "phase", "done", "total"} (bytes; total null: not known), then
{"event": "plan" | "made" | "verified" | "restored", ...}, or {"event": "refused", "sentence"}. Exit codes: 0 done,
2 refused, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from api.backup.making import make_backup
from api.backup.manifest import BackupRefused, Manifest
from api.backup.restoring import plan_restore, restore, verify_backup
from api.settings import settings_or_exit

DONE, REFUSED, INTERRUPTED = 0, 2, 130
PROGRESS_SECONDS = 0.1


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    settings, folder, tell = settings_or_exit(), given.folder.absolute(), _Progress()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if given.act == "make":
            made = make_backup(settings, folder, tell)
            _print("made", folder=str(folder), linked=made.linked, base=made.base, **_numbers(made.manifest))
        elif given.act == "plan":
            _print("plan", folder=str(folder), **plan_restore(settings, folder).document())
        elif given.act == "verify":
            _print("verified", folder=str(folder), **_numbers(verify_backup(settings, folder, tell)))
        else:
            manifest = restore(settings, folder, tell, replace=given.replace)
            _print("restored", folder=str(folder), **_numbers(manifest))
    except BackupRefused as refusal:
        return _refuse(str(refusal))
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", error)).strip().splitlines()
        return _refuse(f"the database did not do it ({why[0] if why else type(error).__name__}): is it up?")
    except OSError as error:
        return _refuse(f"{error.filename or folder}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


class _Progress:
    def __init__(self) -> None:
        self._told = ("", 0.0)

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """A line now and then, and at the beginning and the end of a phase."""
        before, at = self._told
        if phase == before and done != total and time.monotonic() - at < PROGRESS_SECONDS:
            return
        self._told = (phase, time.monotonic())
        _print("progress", phase=phase, done=done, total=total)


def _numbers(manifest: Manifest) -> dict[str, Any]:
    return {
        "made_at": manifest.made_at.isoformat(timespec="seconds"),
        "rows": manifest.rows,
        "files": len(manifest.files),
        "storage_bytes": manifest.storage_bytes,
        "database_bytes": manifest.database_bytes,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.backup", description="Backs Basin up and brings it back.")
    acts = parser.add_subparsers(dest="act", required=True)
    for name, about in (
        ("make", "make a backup in a new folder"),
        ("plan", "say what a restore would do"),
        ("verify", "compare every byte of a backup with its manifest"),
        ("restore", "bring a backup back"),
    ):
        act = acts.add_parser(name, help=about)
        act.add_argument("folder", type=Path)
        if name == "restore":
            act.add_argument("--replace", action="store_true", help="also where there are runs, which are gone then")
    return parser


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _refuse(sentence: str) -> int:
    _print("refused", sentence=sentence)
    return REFUSED


def _print(event: str, **about: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **about}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
