"""Which rho each method of the demo takes: a small sweep on digits, in a regime where AdamW overfits."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from trainer.contract.spec import TrainingSpec
from trainer.listener import Silence
from trainer.loop import train
from trainer.parallel import World

RESULTS = Path(__file__).with_name("results.jsonl")
STEPS = 150
REGIME: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {
            "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4, "class_token": False, "global_pool": "avg",
        },
    },
    "data": {"source": "digits", "train_size": 256},
    "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup_steps": 10},
    "global_batch_size": 256,
    "steps": STEPS,
    "evaluation": {"every_epochs": STEPS, "sharpness_radius": 0.05},
    "checkpoint": {"every_steps": STEPS},
    "logging": {"every_steps": 5},
}  # fmt: skip
METHODS: dict[str, list[dict[str, Any]]] = {
    "AdamW": [{"name": "none"}],
    "SAM": [{"name": "sam", "rho": rho} for rho in (0.05, 0.1, 0.2, 0.4)],
    "LookSAM k=5": [{"name": "looksam", "rho": rho, "k": 5} for rho in (0.05, 0.1, 0.2, 0.4)],
    "Look-LayerSAM k=5": [{"name": "look_layersam", "rho": rho, "k": 5} for rho in (0.005, 0.01, 0.02, 0.05)],
}
SEEDS = (0, 1, 2)
REPORTED = ("validation_top1", "validation_loss", "training_set_loss", "sharpness", "cpu_seconds")

Row = dict[str, Any]


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks.demo_regime", description=__doc__)
    options.add_argument("--results", type=Path, default=RESULTS, help="where runs are kept, and taken from")
    options.add_argument("--again", action="store_true", help="measure all of it anew instead of what is missing")
    options.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help=f"default {' '.join(map(str, SEEDS))}")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    if chosen.again:
        chosen.results.unlink(missing_ok=True)
    rows = sweep(chosen.results, chosen.seeds)
    report(rows)
    return 0


def sweep(file: Path, seeds: Sequence[int]) -> list[Row]:
    """Every method, rho and seed; what the file holds of the same regime is not trained again."""
    known = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["regime"] == REGIME:
                known[json.dumps(row["method"]), row["seed"]] = row
    wanted = [(title, method, seed) for seed in seeds for title, each in METHODS.items() for method in each]
    rows = []
    for number, (title, method, seed) in enumerate(wanted, start=1):
        row = known.get((json.dumps(method), seed))
        if row is None:
            row = one_run(title, method, seed)
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
        rows.append(row)
        numbers = ", ".join(f"{name} {row[name]:.4g}" for name in REPORTED)
        print(f"{number}/{len(wanted)} {title} rho {method.get('rho', '-')} seed {seed}: {numbers}", flush=True)
    return rows


def one_run(title: str, method: dict[str, Any], seed: int) -> Row:
    """Trains in this process, on one thread, and keeps the last step's numbers."""
    started = time.monotonic()
    cosines = Cosines()
    with tempfile.TemporaryDirectory(prefix="basin-regime-") as folder:
        spec = TrainingSpec.model_validate({**REGIME, "method": method, "seed": seed})
        outcome = train(spec, World.single(), folder=Path(folder), listener=cosines)
    return {
        "title": title,
        "method": method,
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
        "wall_seconds": round(time.monotonic() - started, 2),
        "gradient_evaluations": outcome.gradient_evaluations,
        **{name: outcome.numbers[name] for name in REPORTED},
        "direction_cosine": statistics.median(cosines.seen) if cosines.seen else None,
        "regime": REGIME,
    }


class Cosines(Silence):
    """Keeps cos(g_v now, g_v before) of every refresh that shows it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        if "direction_cosine" in values:
            self.seen.append(values["direction_cosine"])


def report(rows: list[Row]) -> None:
    """The table, the choice by mean validation loss, and whether it is flatter than AdamW; JSON last."""
    means = [mean_of(rows, title, method) for title, each in METHODS.items() for method in each]
    chosen = {title: min((m for m in means if m["title"] == title), key=_validation_loss) for title in METHODS}
    print("\n| method | rho | val top-1 | val loss | training set loss | sharpness | median cosine | CPU-s |")
    print("|---|---|---|---|---|---|---|---|")
    for m in means:
        mark = " <- chosen" if m is chosen[m["title"]] and m["rho"] is not None else ""
        cosine = "-" if m["direction_cosine"] is None else f"{m['direction_cosine']:.2f}"
        print(
            f"| {m['title']} | {m['rho'] or '-'} | {m['validation_top1']:.2f} | {m['validation_loss']:.4f} "
            f"| {m['training_set_loss']:.4f} | {m['sharpness']:.5f} | {cosine} | {m['cpu_seconds']:.1f} |{mark}"
        )
    base = chosen["AdamW"]
    flatter = {title: m["sharpness"] < base["sharpness"] for title, m in chosen.items() if m is not base}
    print(
        "\nflatter than AdamW at the chosen rho: "
        + ", ".join(f"{t} {'yes' if f else 'no'}" for t, f in flatter.items())
    )
    figures = {
        "question": "demo_regime",
        "seeds": len({row["seed"] for row in rows}),
        "chosen_rho": {title: m["rho"] for title, m in chosen.items() if m["rho"] is not None},
        "means": {title: {name: round(m[name], 5) for name in REPORTED} for title, m in chosen.items()},
        "flatter_than_adamw": flatter,
        "target": None,
        "holds": True,
    }
    print(json.dumps(figures))


def mean_of(rows: list[Row], title: str, method: dict[str, Any]) -> Row:
    """Over the seeds of one method with one rho."""
    mine = [row for row in rows if row["method"] == method]
    cosines = [row["direction_cosine"] for row in mine if row["direction_cosine"] is not None]
    return {
        "title": title,
        "rho": method.get("rho"),
        **{name: statistics.mean(row[name] for row in mine) for name in REPORTED},
        "direction_cosine": statistics.median(cosines) if cosines else None,
    }


def _validation_loss(row: Row) -> float:
    return float(row["validation_loss"])


if __name__ == "__main__":
    sys.exit(main())
