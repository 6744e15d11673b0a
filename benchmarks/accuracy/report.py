"""The tables, as Markdown, and the plots, from whatever cells are there; one JSON line at the end."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.accuracy.cells import METHODS, REGIMES, SWEEP, SWEEP_ARMS, SWEEP_BATCHES, Row
from benchmarks.accuracy.plots import plot

PAIRS = {"AdamW + SAM-5": "AdamW + LookSAM-5", "LAMB + LayerSAM-5": "LAMB + Look-LayerSAM-5"}
"""Of the sweep: what differs is only the reuse of the stored direction."""


def report(rows: list[Row], folder: Path, *, complete: bool) -> int:
    finals = {regime: final_table(rows, regime) for regime in REGIMES}
    gains = {with_reuse: [gain_at(rows, batch, without, with_reuse) for batch in SWEEP_BATCHES]
             for without, with_reuse in PAIRS.items()}  # fmt: skip
    text = "".join(final_text(regime, lines) for regime, lines in finals.items()) + sweep_text(gains)
    print(text)
    (folder / "tables.md").write_text(text, encoding="utf-8")
    plot(finals, gains, folder)
    expected = {regime: len(METHODS) * shape.seeds for regime, shape in REGIMES.items()}
    found = {regime: sum(line["runs"] for line in lines) for regime, lines in finals.items()}
    sweep = sum(row["cell"]["stage"] == "sweep" for row in rows)
    print(json.dumps({
        "question": "accuracy", "final_runs": found, "sweep_runs": sweep,
        "test_top1": {regime: {line["arm"]: line["mean"] for line in lines} for regime, lines in finals.items()},
        "holds": complete and found == expected and sweep == len(SWEEP_ARMS) * len(SWEEP_BATCHES) * SWEEP.seeds,
    }))  # fmt: skip
    return 0


def final_table(rows: list[Row], regime: str) -> list[dict[str, Any]]:
    """A line for each method that ran: test top-1 over the seeds, and against AdamW with the same seeds."""
    lines = []
    base = by_seed(rows, "final", regime, "AdamW")
    for arm in METHODS:
        mine = by_seed(rows, "final", regime, arm)
        if not mine:
            continue
        mean, half = interval([row["test_top1"] for row in mine.values()])
        pairs = [(mine[seed]["test_top1"], base[seed]["test_top1"]) for seed in mine.keys() & base.keys()]
        first = next(iter(mine.values()))
        lines.append({
            "arm": arm, "rho": json.loads(first["cell"]["method"]).get("rho"), "lr": first["cell"]["lr"],
            "runs": len(mine), "mean": mean, "half": half,
            "train_loss": statistics.fmean(row.get("train_loss", math.nan) for row in mine.values()),
            "gradient_evaluations": first.get("gradient_evaluations"),
            "against": None if arm == "AdamW" else paired(pairs), "cosine": first["direction_cosine"],
        })  # fmt: skip
    return lines


def gain_at(rows: list[Row], batch: int, without: str, with_reuse: str) -> dict[str, Any] | None:
    """What the reuse brings at one batch size, over the seeds that both have; and how long the direction persists."""
    a, b = by_seed(rows, "sweep", "sweep", without, batch), by_seed(rows, "sweep", "sweep", with_reuse, batch)
    pairs = [(b[seed]["test_top1"], a[seed]["test_top1"]) for seed in a.keys() & b.keys()]
    if not pairs:
        return None
    cosines = [row["direction_cosine"] for row in b.values() if row["direction_cosine"] is not None]
    return {
        "batch": batch, "without": statistics.fmean(pair[1] for pair in pairs),
        "with": statistics.fmean(pair[0] for pair in pairs), "gain": paired(pairs),
        "cosine": statistics.fmean(cosines) if cosines else None,
    }  # fmt: skip


def by_seed(rows: list[Row], stage: str, regime: str, arm: str, batch: int | None = None) -> dict[int, Row]:
    found = {}
    for row in rows:
        cell = row["cell"]
        if (cell["stage"], cell["regime"], cell["arm"]) == (stage, regime, arm) and batch in (None, cell["batch"]):
            found[cell["seed"]] = row
    return dict(sorted(found.items()))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half its 95 % interval (Student's t)."""
    if len(values) < 2:
        return values[0], math.nan
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), float(half)


def paired(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Mean difference over the seeds, half its 95 % interval, and the p of the paired t-test."""
    mean, half = interval([a - b for a, b in pairs])
    same = len(pairs) < 2 or len({a - b for a, b in pairs}) == 1
    return mean, half, math.nan if same else float(stats.ttest_rel(*zip(*pairs, strict=True)).pvalue)


def final_text(regime: str, lines: list[dict[str, Any]]) -> str:
    shape = REGIMES[regime]
    text = f"\n### {regime}: {shape.train_size} training images, {shape.epochs} epochs\n\n"
    text += "| method | rho | lr | test top-1 | against AdamW | p | training loss | gradient evaluations |\n"
    text += "|---|---|---|---|---|---|---|---|\n"
    for line in lines:
        against, p = ("-", "-") if line["against"] is None else (
            f"{line['against'][0]:+.2f} ± {line['against'][1]:.2f}", f"{line['against'][2]:.2f}"
        )  # fmt: skip
        text += (
            f"| {line['arm']} | {line['rho'] or '-'} | {line['lr']:g} | {line['mean']:.2f} ± {line['half']:.2f} "
            f"({line['runs']}) | {against} | {p} | {line['train_loss']:.4f} | {line['gradient_evaluations']} |\n"
        )
    return text


def sweep_text(gains: dict[str, list[dict[str, Any] | None]]) -> str:
    text = f"\n### Batch size: cifar, {SWEEP.train_size} images, {SWEEP.epochs} epochs each\n\n"
    text += "| with reuse | batch | without | with | gain | p | cos(g_v now, before) |\n|---|---|---|---|---|---|---|\n"
    for arm, lines in gains.items():
        for line in filter(None, lines):
            gain, cosine = line["gain"], "-" if line["cosine"] is None else f"{line['cosine']:.2f}"
            text += (
                f"| {arm} | {line['batch']} | {line['without']:.2f} | {line['with']:.2f} "
                f"| {gain[0]:+.2f} ± {gain[1]:.2f} | {gain[2]:.2f} | {cosine} |\n"
            )
    return text
