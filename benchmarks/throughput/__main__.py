"""Images a second of the trainer against the least loop one would write; of two workers against two lone trainers."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.paired import interval
from benchmarks.throughput.arm import BATCH, MEASURED

BLOCKS = 4
"""Of one pair of arms. Then both are started anew: where a process happens to lie in memory makes it up to a fifth
faster or slower for all its life, and more blocks of the same two processes would only measure that luck better."""
LEAST_PAIRS, MOST_PAIRS = 6, 40
WIDEST = 0.03
QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"  # an arm ends in the middle of its reading
TARGETS = {"files": 0.97, "memory": 0.97, "two workers": 0.9}
PHOTOS, CLASSES, PHOTO_SIDE = 2000, 10, 128

Block = Callable[[], float]
"""Trains one block; images a second."""


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    options.add_argument("--minutes", type=float, default=8.0, help="more pairs for at most so long, each question")
    options.add_argument("--only", choices=list(TARGETS), help="one question")
    chosen = options.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder))
        for question in [chosen.only] if chosen.only else list(TARGETS):
            found[question] = compare(question, folder, chosen.minutes * 60)
    print(json.dumps({
        "question": "throughput", "device": platform.machine(), "cores": os.cpu_count(), "batch": BATCH, **found,
        "holds": all(each["holds"] for each in found.values()),
    }))  # fmt: skip
    return 0


def write_photos(folder: Path) -> None:
    """JPEGs as smooth as photographs: noise of 16 x 16 points, enlarged."""
    chance = np.random.default_rng(0)
    for number in range(PHOTOS):
        place = folder / f"class_{number % CLASSES}"
        place.mkdir(exist_ok=True)
        points = Image.fromarray(chance.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        points.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BICUBIC).save(place / f"{number}.jpg", quality=90)


def arms(question: str, folder: str, ending: ExitStack) -> tuple[Block, Block]:
    """Ours and the other."""
    if question != "two workers":
        return together(start("basin", question, folder, ending)), together(start("plain", question, folder, ending))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        start("basin", "memory", folder, ending, RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
              MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
        for rank in range(2)
    ]  # fmt: skip
    lone = [start("basin", "memory", folder, ending) for _ in range(2)]
    pair = together(ranks[0])  # rank 0 tells the time, for both
    return lambda: 2 * pair(), together(*lone)


def start(arm: str, source: str, folder: str, ending: ExitStack, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.throughput.arm", arm, source, folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": QUIET, **environment},
    )  # fmt: skip
    ending.callback(process.wait)
    ending.callback(process.terminate)
    return process


def together(*processes: subprocess.Popen[str]) -> Block:
    """One block of all at once; the sum of their rates."""

    def block() -> float:
        for process in processes:
            assert process.stdin is not None
            print("go", file=process.stdin, flush=True)
        rates = []
        for process in processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"an arm ended with {process.wait()}"
            rates.append(BATCH / float(line))
        return sum(rates)

    return block


def compare(question: str, folder: str, most_seconds: float) -> dict[str, object]:
    ours: list[float] = []
    theirs: list[float] = []
    began = time.monotonic()
    ratio, half = 0.0, 0.0
    while len(ours) < MOST_PAIRS:
        with ExitStack() as ending:
            pair = rates_of(*arms(question, folder, ending))
        ours.append(pair[0])
        theirs.append(pair[1])
        ratio, half = interval(ours, theirs)
        print(f"{question}, pair {len(ours)}: {ours[-1]:.0f} and {theirs[-1]:.0f} images/s; "
              f"ratio {ratio:.3f} +-{100 * half:.1f} %", flush=True)  # fmt: skip
        if len(ours) >= LEAST_PAIRS and (half <= WIDEST or time.monotonic() - began > most_seconds):
            break
    return {
        "ratio": round(ratio, 4), "half_interval": round(half, 4), "target": TARGETS[question],
        "pairs": len(ours), "blocks_a_pair": BLOCKS, "steps_a_block": MEASURED,
        "holds": ratio >= TARGETS[question] and half <= WIDEST,
    }  # fmt: skip


def rates_of(ours: Block, theirs: Block) -> tuple[float, float]:
    """Images a second of each: the median of its blocks, so that a disturbed one does not count."""
    rates: tuple[list[float], list[float]] = [], []
    for block in range(BLOCKS):
        # A B, B A: what gets slower or faster meanwhile befalls both alike.
        for arm in (1, 0) if block % 2 else (0, 1):
            rates[arm].append((ours, theirs)[arm]())
    return statistics.median(rates[0]), statistics.median(rates[1])


if __name__ == "__main__":
    sys.exit(main())
