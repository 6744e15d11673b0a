"""`python -m api.backup make|plan|verify|restore FOLDER`: what `basin admin backup` and `restore` start.

Prints one JSON object a line: {"event": "progress", "phase", "done", "total"} (bytes; total null: not known), then
{"event": "plan" | "made" | "verified" | "restored", ...}, {"event": "refused", "sentence"} where all is as it was, or
{"event": "failed", "sentence"} where it may not be. Exit codes: 0 done, 1 failed, 2 refused, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from api.backup.making import make_backup
from api.backup.manifest import BackupRefused, Manifest, RestoredInPart
from api.backup.placing import free_bytes
from api.backup.restoring import plan_restore, restore, verify_backup
from api.db.engine import first_line
from api.settings import Settings, settings_or_exit

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
PROGRESS_SECONDS = 0.1


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    settings, folder = settings_or_exit(), given.folder.absolute()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _do(given.act, settings, folder, replace=getattr(given, "replace", False))
    except BackupRefused as refusal:
        return _refuse(str(refusal))
    except RestoredInPart as what_is_missing:
        return _fail(str(what_is_missing))
    except SQLAlchemyError as error:
        return _refuse(f"the database did not do it ({first_line(error)}): is it up?")
    except OSError as error:
        return _refuse(f"{error.filename or folder}: {error.strerror or error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        return _fail(_unforeseen(error))
    return DONE


def _do(act: str, settings: Settings, folder: Path, *, replace: bool) -> None:
    tell = _Progress()
    if act == "make":
        made = make_backup(settings, folder, tell)
        room = {"restore_needs_bytes": made.manifest.storage_bytes, "storage_free_bytes": free_bytes(settings.storage)}
        _print("made", folder=str(folder), linked=made.linked, base=made.base, **room, **_numbers(made.manifest))
    elif act == "plan":
        _print("plan", folder=str(folder), **plan_restore(settings, folder).document())
    elif act == "verify":
        _print("verified", folder=str(folder), **_numbers(verify_backup(settings, folder, tell)))
    else:
        manifest = restore(settings, folder, tell, replace=replace)
        _print("restored", folder=str(folder), **_numbers(manifest))


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


def _unforeseen(error: Exception) -> str:
    """One sentence with the place in the code, for whoever is told of it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split()) or "no text"
    return (
        f"an error that Basin did not foresee: {type(error).__name__}, {said}, at {frame.filename}:{frame.lineno};"
        " report it with this line"
    )


def _refuse(sentence: str) -> int:
    _print("refused", sentence=sentence)
    return REFUSED


def _fail(sentence: str) -> int:
    _print("failed", sentence=sentence)
    return FAILED


def _print(event: str, **about: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **about}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Nothing is left that could be interrupted.
    sys.exit(code)
