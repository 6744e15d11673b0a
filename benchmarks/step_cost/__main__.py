"""What a step of each method costs in time and memory, against the base optimizer and pytorch_optimizer's LookSAM."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.paired import interval
from benchmarks.step_cost.arms import ALPHA, RHO, Step, basin, peer, plain
from benchmarks.step_cost.memory import kept_bytes, peak_bytes
from benchmarks.step_cost.problem import SIZES, Problem
from trainer.allocator import keep_freed_memory
from trainer.contract.methods import SAM, LookSAM, NoMethod

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = REPOSITORY / "build" / "step_cost" / "packages"
REUSES = (2, 5, 10)
BLOCK_STEPS = 10  # whole cycles of each k
LEAST_BLOCKS, MOST_BLOCKS = 20, 200
MARGIN = 1.03
WIDEST = 0.03
WARM_UP_STEPS = 10
DOCTOR_BLOCKS = 20


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.step_cost", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a small model and 20 blocks: two minutes")
    options.add_argument("--size", choices=list(SIZES), help="the model (default small; quick with --quick)")
    options.add_argument("--device", default="cpu")
    options.add_argument("--minutes", type=float, default=25.0, help="more blocks for at most so long (default 25)")
    chosen = options.parse_args()
    device = torch.device(chosen.device)
    if device.type == "cpu":
        torch.set_num_threads(1)  # two threads of one step would share a core with whatever else runs
        keep_freed_memory()  # as the trainer does; else what glibc gives back would slow one arm and not the next
    size = SIZES[chosen.size or ("quick" if chosen.quick else "small")]
    fetch_peer()
    arms = {name: make(Problem(size, device)) for name, make in the_arms().items()}
    seconds = measure(arms, device, MOST_BLOCKS if not chosen.quick else LEAST_BLOCKS, chosen.minutes * 60)
    memory = {name: of_memory(lambda name=name: the_arms()[name](Problem(size, device)), size, device) for name in arms}
    return report(seconds, memory, doctor_cost(Problem(size, device), Problem(size, device), device), size, device)


def the_arms() -> dict[str, Callable[[Problem], Step]]:
    arms: dict[str, Callable[[Problem], Step]] = {
        "plain loop": plain,
        "base": lambda problem: basin(problem, NoMethod()),
        "SAM": lambda problem: basin(problem, SAM(name="sam", rho=RHO)),
    }
    for k in REUSES:
        method = LookSAM(name="looksam", rho=RHO, k=k, alpha=ALPHA)
        arms[f"LookSAM k={k}"] = lambda problem, method=method: basin(problem, method)
        for kind, documented in (("step(closure)", True), ("by hand", False)):
            arms[f"peer k={k}, {kind}"] = lambda problem, k=k, documented=documented: peer(
                problem, k, documented=documented, packages=PACKAGES
            )
    return arms


def fetch_peer() -> None:
    if (PACKAGES / ".complete").exists():
        return
    print("Installing the peer", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(PACKAGES), "-r"]
    subprocess.run([*command, str(Path(__file__).with_name("peer.txt"))], check=True)
    (PACKAGES / ".complete").touch()


def measure(
    arms: dict[str, Step], device: torch.device, most_blocks: int, most_seconds: float, against: str = "base"
) -> dict[str, list[float]]:
    """Seconds a step, block after block, all arms in turn; until every interval is narrow enough."""
    for step in arms.values():
        for _ in range(WARM_UP_STEPS):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    began = time.monotonic()
    for block in range(1, most_blocks + 1):
        spent = dict.fromkeys(arms, 0.0)
        for _ in range(BLOCK_STEPS):
            for name, step in arms.items():  # a step of each in turn: what slows the machine for seconds befalls all
                _wait(device)
                started = time.perf_counter()
                step()
                _wait(device)
                spent[name] += time.perf_counter() - started
        for name, total in spent.items():
            seconds[name].append(total / BLOCK_STEPS)
        if block % 5 == 0:
            widest = max(interval(seconds[name], seconds[against])[1] for name in arms if name != against)
            print(f"block {block}: widest interval +-{100 * widest:.1f} %", flush=True)
            if block >= LEAST_BLOCKS and (widest <= WIDEST or time.monotonic() - began > most_seconds):
                break
    return seconds


def doctor_cost(watched: Problem, alone: Problem, device: torch.device) -> tuple[float, float]:
    """Seconds of a refresh that the SAM doctor looks at, and of one that it does not: medians of blocks in turn."""
    method = LookSAM(name="looksam", rho=RHO, k=1, alpha=ALPHA)
    arms = {"looked at": basin(watched, method, looked_at=True), "alone": basin(alone, method)}
    seconds = measure(arms, device, DOCTOR_BLOCKS, 0.0, against="alone")
    return statistics.median(seconds["looked at"]), statistics.median(seconds["alone"])


def of_memory(make: Callable[[], Step], size: object, device: torch.device) -> tuple[int, int]:
    """Bytes kept between steps, and the most within any step of a cycle beyond that."""
    step = make()
    for _ in range(BLOCK_STEPS + 1):  # so that the next steps go through a whole cycle
        step()
    kept = kept_bytes()
    return kept, max(peak_bytes(step) for _ in range(BLOCK_STEPS))


def report(
    seconds: dict[str, list[float]], memory: dict[str, tuple[int, int]], doctor: tuple[float, float], size: object,
    device: torch.device,
) -> int:  # fmt: skip
    ratios = {name: interval(times, seconds["base"]) for name, times in seconds.items() if name != "base"}
    weights = Problem(size, device).weight_bytes  # type: ignore[arg-type]
    base_kept, base_peak = memory["base"]
    blocks, base_ms = len(seconds["base"]), 1e3 * statistics.fmean(seconds["base"])
    print(f"\n{size} on {device}, {blocks} blocks of {BLOCK_STEPS} steps; base {base_ms:.1f} ms a step")
    print(f"{'':26}{'time / base':>14}{'+-':>8}{'(k+1)/k':>9}{'kept':>8}{'transient':>11}   (1x = the parameters)")
    for name, (kept, peak) in memory.items():
        ratio, half = ratios.get(name, (1.0, 0.0))
        ideal = f"{ideal_of(name):.2f}" if ideal_of(name) else ""
        extra, transient = (kept - base_kept) / weights, (peak - base_peak) / weights
        print(f"{name:26}{ratio:14.3f}{100 * half:7.1f}%{ideal:>9}{extra:7.2f}x{transient:10.2f}x")
    looked_at, alone = doctor
    print(
        f"{'refresh, looked at':26}{1e3 * looked_at:9.1f} ms against {1e3 * alone:.1f} ms: the SAM doctor, 3 + 1 in 50"
    )
    cells = {}
    for k in REUSES:
        name = f"LookSAM k={k}"
        ratio, half = ratios[name]
        peers_low = min(r * (1 + h) for other, (r, h) in ratios.items() if other.startswith(f"peer k={k},"))
        kept, peak = memory[name]
        cells[f"k={k}"] = {
            "ratio": round(ratio, 4), "half_interval": round(half, 4), "target": round(MARGIN * (k + 1) / k, 4),
            "kept": round((kept - base_kept) / weights, 3), "transient": round((peak - base_peak) / weights, 3),
            "holds": ratio <= MARGIN * (k + 1) / k and half <= WIDEST and peers_low >= ratio * (1 - half)
            and kept - base_kept <= weights * 1.01 and peak - base_peak <= weights * 1.01 + 4 * 2**20,
        }  # fmt: skip
    print(json.dumps({
        "question": "step_cost", "device": str(device), "blocks": len(seconds["base"]), "looksam": cells,
        "sam_ratio": round(ratios["SAM"][0], 4), "plain_loop_ratio": round(ratios["plain loop"][0], 4),
        "doctor": {"looked_at_seconds": round(looked_at, 6), "not_looked_at_seconds": round(alone, 6)},
        "holds": all(cell["holds"] for cell in cells.values()),
    }))  # fmt: skip
    return 0


def ideal_of(name: str) -> float:
    if name == "SAM":
        return 2.0
    k = next((k for k in REUSES if name == f"LookSAM k={k}" or name == f"peer k={k}, by hand"), None)
    return (k + 1) / k if k else 0.0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
