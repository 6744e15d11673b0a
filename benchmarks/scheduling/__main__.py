"""Does admission fill a cluster, and is it fair? Against strict order, and against a pool that can be divided."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scheduling.decision_time import QUEUED, decision_milliseconds
from benchmarks.scheduling.divisible import Outcome, run_divisible
from benchmarks.scheduling.whole import Cluster, run_basin, run_in_strict_order
from benchmarks.scheduling.workload import GPUS, Job, jobs

UTILISATION_TARGET = 0.95
WAIT_TARGET = 3.0
DECISION_TARGET_MILLISECONDS = 100.0


@dataclass(frozen=True)
class Figures:
    """One way of scheduling, measured against the ideal."""

    utilisation: float
    share_of_ideal: float
    worst: float
    """Of a run's wait over (its wait in the pool + its own length), the largest."""
    over: int
    """Runs of which that is over the target."""
    out_of_reach: int | None
    """Those of them that every GPU that came free since their arrival would not have saved. Null: not asked."""
    p99: float
    mean_wait_minutes: float


def figures(outcome: Outcome, ideal: Outcome, arrivals: Sequence[Job]) -> Figures:
    def allowed(job: Job) -> float:
        return ideal.waits[job.number] + job.seconds

    ratios = sorted(outcome.waits[job.number] / allowed(job) for job in arrivals)
    late = [job for job in arrivals if outcome.waits[job.number] > WAIT_TARGET * allowed(job)]
    shortest = outcome.shortest_waits
    return Figures(
        utilisation=outcome.utilisation,
        share_of_ideal=outcome.utilisation / ideal.utilisation,
        worst=ratios[-1],
        over=len(late),
        out_of_reach=sum(shortest[job.number] > WAIT_TARGET * allowed(job) for job in late) if shortest else None,
        p99=ratios[int(0.99 * len(ratios))],
        mean_wait_minutes=statistics.fmean(outcome.waits) / 60,
    )


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.scheduling", description=__doc__)
    options.add_argument("--runs", type=int, default=10_000, help="runs that arrive (default 10,000)")
    options.add_argument("--seed", type=int, default=1, help="of the workload (default 1)")
    options.add_argument("--quick", action="store_true", help="2,000 runs and a fifth of the decisions")
    chosen = options.parse_args()
    count, times = (2_000, 10) if chosen.quick else (chosen.runs, 50)
    arrivals = jobs(count, chosen.seed)
    print(f"{count:,} runs over {arrivals[-1].arrives / 3600:.1f} h on {GPUS:,} GPUs, seed {chosen.seed}", flush=True)
    ideal = run_divisible(arrivals)
    found = {
        "ideal": figures(ideal, ideal, arrivals),
        "strict order": figures(run_in_strict_order(arrivals), ideal, arrivals),
    }
    for name, known in (("basin", True), ("basin, lengths unknown", False)):
        found[name] = figures(run_basin(arrivals, lengths_known=known, told=_progress(name, count)), ideal, arrivals)
        _clear()
    took = decision_milliseconds(times, lambda done: _line(f"decisions: {done} of {times}"))
    _clear()
    report(found, took, count=count, seed=chosen.seed)
    return 0


def report(found: dict[str, Figures], took: Sequence[tuple[float, float]], *, count: int, seed: int) -> None:
    print(f"\n{'':24}{'utilisation':>12}{'of ideal':>10}{'mean wait':>12}{'p99 ratio':>11}{'worst':>8}{'over 3':>8}")
    for name, row in found.items():
        print(
            f"{name:24}{row.utilisation:12.3f}{row.share_of_ideal:10.3f}{row.mean_wait_minutes:8.1f} min"
            f"{row.p99:11.2f}{row.worst:8.2f}{row.over:8}"
        )
    for name, row in found.items():
        if row.out_of_reach is not None and row.over:
            print(f"{name}: {row.out_of_reach} of the {row.over} could not have started in time without pausing others")
    median, cpu = (statistics.median(each) for each in zip(*took, strict=True))
    print(f"\none decision over {QUEUED:,} rows: median {median:.1f} ms, {cpu:.1f} ms of CPU time")
    basin = found["basin"]
    holds = {
        "utilisation": basin.share_of_ideal >= UTILISATION_TARGET,
        "waits": basin.worst <= WAIT_TARGET,
        "decision": median < DECISION_TARGET_MILLISECONDS,
    }
    print(
        json.dumps(
            {
                "question": "scheduling",
                "runs": count,
                "seed": seed,
                "utilisation_of_ideal": round(basin.share_of_ideal, 4),
                "utilisation_of_ideal_target": UTILISATION_TARGET,
                "worst_wait_ratio": round(basin.worst, 3),
                "worst_wait_ratio_target": WAIT_TARGET,
                "runs_over_it": basin.over,
                "of_these_out_of_reach": basin.out_of_reach,
                "decision_milliseconds": round(median, 1),
                "decision_cpu_milliseconds": round(cpu, 1),
                "decision_milliseconds_target": DECISION_TARGET_MILLISECONDS,
                "strict_order": {
                    "utilisation_of_ideal": round(found["strict order"].share_of_ideal, 4),
                    "worst_wait_ratio": round(found["strict order"].worst, 3),
                    "runs_over_it": found["strict order"].over,
                },
                "lengths_unknown": {
                    "utilisation_of_ideal": round(found["basin, lengths unknown"].share_of_ideal, 4),
                    "worst_wait_ratio": round(found["basin, lengths unknown"].worst, 3),
                    "runs_over_it": found["basin, lengths unknown"].over,
                },
                "holds_by_target": holds,
                "holds": all(holds.values()),
            }
        )
    )


def _progress(name: str, count: int) -> Callable[[int, Cluster], None]:
    last = 0.0

    def told(done: int, cluster: Cluster) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            _line(f"{name}: {done:,} of {count:,} runs over, {len(cluster.queue):,} waiting")

    return told


def _line(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _clear() -> None:
    _line("")


if __name__ == "__main__":
    sys.exit(main())
