"""Which method generalises best, where the base optimizer overfits and where it does not, and at which batch size."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from benchmarks.accuracy.cells import Cell, Row, stages
from benchmarks.accuracy.report import report
from benchmarks.accuracy.runs import run

RESULTS = Path(__file__).with_name("results.jsonl")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    options.add_argument("--results", type=Path, default=RESULTS, help="where cells are kept, and taken from")
    options.add_argument("--minutes", type=float, default=600.0, help="begin no cell after so long; go on another time")
    options.add_argument("--processes", type=int, default=2, help="cells trained at once, a thread each (default 2)")
    options.add_argument("--report", action="store_true", help="only the tables and plots of what is there")
    chosen = options.parse_args()
    rows = known(chosen.results)
    complete = True if chosen.report else fill(rows, chosen.results, chosen.minutes * 60, chosen.processes)
    return report(list(rows.values()), Path(__file__).parent, complete=complete)


def known(file: Path) -> dict[str, Row]:
    if not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {Cell(**row["cell"]).key: row for row in rows}


def fill(rows: dict[str, Row], file: Path, most_seconds: float, processes: int) -> bool:
    """Trains what is missing, stage after stage; False where the time was over before."""
    ends_at = time.monotonic() + most_seconds
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for cells in stages(lambda: list(rows.values())):
            missing = [cell for cell in cells if cell.key not in rows]
            running: set[Future[Row]] = set()
            while missing or running:
                while missing and len(running) < processes and time.monotonic() < ends_at:
                    running.add(pool.submit(run, missing.pop(0)))
                if not running:
                    print(f"The time is over with {len(missing)} cells of this stage to go.", flush=True)
                    return False
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for each in done:
                    keep(rows, file, each.result())
                    print(f"{len(missing) + len(running)} to go: {told(each.result())}", flush=True)
    return True


def keep(rows: dict[str, Row], file: Path, row: Row) -> None:
    rows[Cell(**row["cell"]).key] = row
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")


def told(row: Row) -> str:
    cell = row["cell"]
    top1 = row.get("test_top1", row["validation_top1"])
    what = f"{cell['regime']}, {cell['arm']}, {cell['method']}, lr {cell['lr']:.2g}, batch {cell['batch']}"
    return f"{cell['stage']}: {what}: {top1:.1f} % (train loss {row.get('train_loss', 0):.3f}), {row['seconds']:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
