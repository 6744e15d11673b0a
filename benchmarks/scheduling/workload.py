"""Runs that arrive: who wants how many GPUs for how long, and what the scheduler is told about it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

GPUS = 1_000
GPUS_PER_NODE = 8
LOAD = 0.9
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
USERS = 8
SHORTEST_SECONDS, MEDIAN_SECONDS, LONGEST_SECONDS, SIGMA = 300.0, 2_400.0, 86_400.0, 1.1
MEAN_SWEEP = 3.0
ERROR_QUEUED, ERROR_RUNNING = 0.3, 0.1
"""Standard deviation of the logarithm of expected over true time: from runs like it, and from its own pace."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run of the workload; times in seconds from the start."""

    number: int
    user: str
    arrives: float
    gpus: int
    seconds: float
    expected_seconds: float
    pace_error: float
    """Its trainer's estimate of what is left, over what is left."""

    @property
    def run_id(self) -> str:
        return f"r{self.number:05d}"


def jobs(count: int, seed: int) -> list[Job]:
    """By arrival. Every width brings as much work (numbers fall as 1/width), users differ by 8 to 1, sweeps of 1 to 20
    equally wide runs come at once, and lengths are log-normal."""
    chance = random.Random(seed)
    found: list[tuple[str, int, float, bool]] = []
    while len(found) < count:
        user = f"user-{chance.choices(range(USERS), [1 / (rank + 1) for rank in range(USERS)])[0]}"
        width = chance.choices(WIDTHS, [1 / width for width in WIDTHS])[0]
        sweep = min(20, 1 + int(math.log(1 - chance.random()) / math.log(1 - 1 / MEAN_SWEEP)))
        for place in range(min(sweep, count - len(found))):
            seconds = MEDIAN_SECONDS * math.exp(SIGMA * chance.gauss(0, 1))
            found.append((user, width, min(LONGEST_SECONDS, max(SHORTEST_SECONDS, seconds)), place == 0))
    times = [0.0]
    for *_, first in found[1:]:
        times.append(times[-1] + (chance.expovariate(1.0) if first else 0.0))
    # To the load exactly: by chance alone the arrivals of one seed take some tenths more or less.
    work = sum(width * seconds for _, width, seconds, _ in found)
    stretch = work / (LOAD * GPUS) / times[-1]
    return [
        Job(
            number=number,
            user=user,
            arrives=at * stretch,
            gpus=width,
            seconds=seconds,
            expected_seconds=seconds * math.exp(ERROR_QUEUED * chance.gauss(0, 1)),
            pace_error=math.exp(ERROR_RUNNING * chance.gauss(0, 1)),
        )
        for number, ((user, width, seconds, _), at) in enumerate(zip(found, times, strict=True))
    ]
