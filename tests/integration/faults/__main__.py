"""`make faults`: many runs under faults. Outcomes are kept by commit, so an interrupted campaign goes on.

`python -m tests.integration.faults --api-away 300` plays one outage instead: the API is away for five minutes, under a
run that trains on, which must not be relaunched, and under one that ends meanwhile, none of whose points may be lost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.integration.faults.campaign import Campaign, Case
from tests.integration.faults.ground import Ground
from tests.integration.faults.kinds import KINDS, possible
from tests.integration.faults.outages import ENDING, hold_the_api_down
from tests.integration.faults.small_disk import SmallDisk
from tests.integration.faults.watching import Watch
from tests.integration.running_stack import RunningStack

REPOSITORY = Path(__file__).resolve().parents[3]
RESULTS = REPOSITORY / "build" / "faults" / "results.jsonl"
LEAST_OF_EACH = 5


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.integration.faults", description=__doc__)
    options.add_argument("--faults", type=int, default=LEAST_OF_EACH * len(KINDS), help="how many (default 60)")
    options.add_argument("--minutes", type=float, default=45.0, help="begin none after so long (default 45)")
    options.add_argument("--only", choices=[kind.name for kind in KINDS], help="one kind")
    options.add_argument("--results", type=Path, default=RESULTS, help="where outcomes are appended, and taken from")
    options.add_argument("--api-away", type=float, metavar="SECONDS", help="play one outage of the API, nothing else")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the stack and the disk are taken down
    if chosen.api_away is not None:
        return play_outage(chosen.api_away)
    commit = commit_of_the_tree()
    known = [row for row in read(chosen.results) if row["commit"] == commit]
    done = {(row["kind"], row["number"]) for row in known}
    kinds = [kind for kind in possible(SmallDisk.can_be_mounted()) if chosen.only in (None, kind.name)]
    if len(kinds) < len(KINDS) and chosen.only is None:
        print("A full disk is left out: only root can mount a small one.", flush=True)
    cases = [Case(kinds[n % len(kinds)], n // len(kinds)) for n in range(chosen.faults)]
    missing = [case for case in cases if (case.kind.name, case.number) not in done]
    print(f"{len(cases)} faults at {commit}: {len(cases) - len(missing)} are known, {len(missing)} to go", flush=True)
    if missing:
        known += play(missing, chosen.results, commit, chosen.minutes * 60)
    return conclude(known, len(cases))


def play_outage(seconds: float) -> int:
    """On a stack of its own, with leases as short as in the tests. The last line says whether it held."""
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="basin-outage-") as folder:
        stack = RunningStack(Path(folder) / "home")
        try:
            stack.up()
            with Watch(stack.api_url, stack.token) as watch:
                print(f"The API goes away for {seconds:g} s.", flush=True)
                hold_the_api_down(stack, watch, watch.undisturbed(ENDING), seconds=seconds)
        except AssertionError as error:
            violations.append(str(error))
            print(f"VIOLATION: {error}", flush=True)
        finally:
            stack.close()
    print(json.dumps({"api_away_seconds": seconds, "runs": 2, "violations": len(violations)}), flush=True)
    return 1 if violations else 0


def play(cases: list[Case], results: Path, commit: str, most_seconds: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    ends_at = time.monotonic() + most_seconds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="basin-faults-") as folder:
        ground = Ground.prepare(Path(folder))
        try:
            campaign = Campaign(ground)
            with Progress(*columns, console=Console(soft_wrap=True)) as progress:
                task = progress.add_task("faults", total=len(cases))
                for case in cases:
                    if time.monotonic() > ends_at:
                        progress.print("The time is over; the same command goes on.")
                        break
                    progress.update(task, description=f"{case.kind.name}, {case.moment}")
                    row = {"commit": commit, **played(campaign, case)}
                    append(results, row)
                    rows.append(row)
                    if not progress.console.is_terminal:  # where there is no bar to watch
                        print(
                            f"{len(rows)} of {len(cases)}: {row['kind']} at {row['moment']}, {row['seconds']} s",
                            flush=True,
                        )
                    for violation in row["violations"]:
                        progress.print(f"VIOLATION, {case.kind.name} {case.number} at {case.moment}: {violation}")
                    progress.advance(task)
        except KeyboardInterrupt:
            print("Interrupted; the same command goes on.", flush=True)
        finally:
            ground.clear()
    return rows


def played(campaign: Campaign, case: Case) -> dict[str, Any]:
    """What broke the campaign itself is a violation, too: the next case shows whether the stack stands."""
    try:
        return campaign.play(case).row()
    except Exception as error:
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return {
            "kind": case.kind.name, "number": case.number, "seed": case.seed, "moment": str(case.moment),
            "attempts": 0, "seconds": 0.0, "violations": [f"not played to its end: {told[:2000]}"],
        }  # fmt: skip


def conclude(rows: list[dict[str, Any]], planned: int) -> int:
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind.name]
        if of_kind:
            bad = sum(bool(row["violations"]) for row in of_kind)
            mean = sum(row["seconds"] for row in of_kind) / len(of_kind)
            print(f"{kind.name:26}{len(of_kind):4} faults, {mean:5.1f} s each, {bad} with violations")
    count = sum(len(row["violations"]) for row in rows)
    print(json.dumps({"planned": planned, "faults": len(rows), "runs": len(rows), "violations": count}), flush=True)
    return 1 if count or len(rows) < planned else 0


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def append(file: Path, row: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def commit_of_the_tree() -> str:
    """The commit; with what is not committed in it, its own number besides."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changes = _git("diff", "HEAD")
    return commit if not changes else f"{commit}+{hash_of(changes)}"


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
