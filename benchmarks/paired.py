"""The ratio of two arms that were measured in turn, block beside block, and how sure it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats


def interval(arm: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Geometric mean of the blocks' ratios to the base block beside them, and half its 95 % interval, relative."""
    logs = [math.log(a / b) for a, b in zip(arm, base, strict=True)]
    if len(logs) < 2:
        return math.exp(logs[0]), math.inf
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(statistics.fmean(logs)), math.expm1(half)
