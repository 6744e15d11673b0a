"""Seconds from POST to the end of the first optimizer step: the service, a cold process, a naive TorchTrainer job."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stack import running_stack
from benchmarks.start_latency.arms import STAGES, cold_process, naive_job, peer_packages, service_run

IDLE_SECONDS = 3.0
"""Before each measurement, so that the last one's processes are gone and the stack is idle."""
OVERHEAD_TARGET_SECONDS = 3.5
NAIVE_TARGET = 0.5
RESULTS = Path("build/start_latency/rounds.jsonl")


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.start_latency", description=__doc__)
    options.add_argument("--times", type=int, default=10, help="rounds (default 10)")
    options.add_argument("--quick", action="store_true", help="two rounds")
    options.add_argument("--resume", action="store_true", help=f"keep the rounds in {RESULTS} and add what is missing")
    chosen = options.parse_args()
    times = 2 if chosen.quick else chosen.times
    if not chosen.resume:
        RESULTS.unlink(missing_ok=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    rounds = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    with tempfile.TemporaryDirectory(prefix="basin-bench-") as folder:
        measure(rounds, times, Path(folder))
    report(rounds[:times])
    return 0


def measure(rounds: list[dict[str, Any]], times: int, folder: Path) -> None:
    """A B A B ...: all arms in turn, `times` times; each round is kept as soon as it is complete."""
    packages = peer_packages()
    with running_stack(folder / "home") as stack:
        for number in range(len(rounds) + 1, times + 1):
            seen: dict[str, Any] = {}
            for workers in (1, 2):
                time.sleep(IDLE_SECONDS)
                seen[f"service_{workers}"] = service_run(stack, workers)
                if workers == 1:
                    time.sleep(IDLE_SECONDS)
                    seen["process"] = cold_process(folder / f"process-{number}")
                time.sleep(IDLE_SECONDS)
                seen[f"naive_{workers}"] = naive_job(stack, workers, folder / f"naive-{workers}-{number}", packages)
            rounds.append(seen)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(seen) + "\n")
            print(
                f"round {number} of {times}: process {seen['process']:.2f} s; "
                + "; ".join(
                    f"{w} worker{'s' * (w > 1)}: service {seen[f'service_{w}']['first batch']:.2f} s,"
                    f" naive {seen[f'naive_{w}']:.2f} s"
                    for w in (1, 2)
                ),
                flush=True,
            )


def report(rounds: list[dict[str, Any]]) -> None:
    process = _spread([each["process"] for each in rounds])
    naive = {workers: _spread([each[f"naive_{workers}"] for each in rounds]) for workers in (1, 2)}
    service = {
        workers: {stage: _spread([each[f"service_{workers}"][stage] for each in rounds]) for stage in STAGES}
        for workers in (1, 2)
    }
    print(f"\nmedian (lowest to highest) of {len(rounds)}, in seconds")
    print(f"  cold process           {_shown(process)}")
    for workers in (1, 2):
        print(f"  service, {workers} worker(s)   {_shown(service[workers]['first batch'])}")
        print(f"  naive job, {workers} worker(s) {_shown(naive[workers])}")
    for workers in (1, 2):
        print(f"\nservice, {workers} worker(s), by stage (medians)")
        before = 0.0
        for stage in STAGES:
            at = service[workers][stage][1]
            print(f"  {stage:<13} over at {at:6.2f}  (+{at - before:.2f})")
            before = at
    first = service[2]["first batch"][1]
    figures = {
        "question": "start_latency",
        "rounds": len(rounds),
        "process_seconds": round(process[1], 3),
        "service_seconds": {workers: round(service[workers]["first batch"][1], 3) for workers in (1, 2)},
        "naive_seconds": {workers: round(naive[workers][1], 3) for workers in (1, 2)},
        "overhead_seconds": round(first - process[1], 3),
        "overhead_target_seconds": OVERHEAD_TARGET_SECONDS,
        "share_of_naive": round(first / naive[2][1], 3),
        "share_of_naive_target": NAIVE_TARGET,
        "holds": first <= process[1] + OVERHEAD_TARGET_SECONDS and first < NAIVE_TARGET * naive[2][1],
    }
    print(json.dumps(figures))


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _shown(spread: tuple[float, float, float]) -> str:
    lowest, middle, highest = spread
    return f"{middle:6.2f}  ({lowest:.2f} to {highest:.2f})"


if __name__ == "__main__":
    sys.exit(main())
