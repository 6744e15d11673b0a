"""What is trained: every cell is one run, named by what it is; the later stages depend on what the earlier chose."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

BATCH = 128
MODELS = {
    "digits": {"patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4},
    "cifar": {"patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 4},
}


@dataclass(frozen=True)
class Regime:
    data: str
    train_size: int
    epochs: int
    """train_size * epochs <= 100,000."""
    seeds: int


REGIMES = {
    "digits, few images": Regime("digits", 250, 200, 5),
    "digits, many images": Regime("digits", 1250, 24, 5),
    "cifar, few images": Regime("cifar", 1000, 100, 3),
    "cifar, many images": Regime("cifar", 25_000, 4, 3),
}
SWEEP = Regime("cifar", 4096, 24, 3)
SWEEP_BATCHES = (64, 256, 1024, 2048, 4096)

LRS = (1e-3, 3e-3)
"""The grid of the learning rate: by AdamW's validation top-1; all methods of a regime take it."""
RHOS = (0.02, 0.05, 0.15)
LAYERWISE_RHOS = (0.003, 0.01, 0.03)

METHODS: dict[str, dict[str, Any]] = {
    "AdamW": {"name": "none"},
    "SAM": {"name": "sam"},
    "SAM-5": {"name": "sam", "k": 5},
    "LookSAM-5, auto": {"name": "looksam", "k": 5, "alpha": "auto"},
    "LookSAM-5, fresh_ratio": {"name": "looksam", "k": 5, "alpha": "fresh_ratio"},
    "LookSAM-5, 0.1": {"name": "looksam", "k": 5, "alpha": 0.1},
    "LookSAM-5, 0.7": {"name": "looksam", "k": 5, "alpha": 0.7},
    "Look-LayerSAM-5": {"name": "look_layersam", "k": 5},
}
LAMB_LR = 1e-2
SWEEP_ARMS: dict[str, tuple[str, float, dict[str, Any]]] = {
    # Base optimizer, its learning rate at a batch of 128 (scaled by the square root of the batch), method.
    "AdamW + SAM-5": ("adamw", 1e-3, {"name": "sam", "k": 5, "rho": 0.05}),
    "AdamW + LookSAM-5": ("adamw", 1e-3, {"name": "looksam", "k": 5, "rho": 0.05}),
    "LAMB + LayerSAM-5": ("lamb", LAMB_LR, {"name": "layersam", "k": 5, "rho": 0.01}),
    "LAMB + Look-LayerSAM-5": ("lamb", LAMB_LR, {"name": "look_layersam", "k": 5, "rho": 0.01}),
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    stage: str
    """`lr`, `rho`, `final` or `sweep`."""
    regime: str
    arm: str
    optimizer: str
    lr: float
    method: str
    """JSON, so that a cell can be a key."""
    batch: int
    seed: int

    @property
    def key(self) -> str:
        return json.dumps([getattr(self, name) for name in self.__dataclass_fields__])

    @property
    def is_tuning(self) -> bool:
        return self.stage in ("lr", "rho")


def stages(rows: Callable[[], list[Row]]) -> Iterable[list[Cell]]:
    """The cells of each stage; ask for the next when those before it are among `rows()`."""
    yield [Cell("sweep", "sweep", arm, optimizer, lr * (batch / BATCH) ** 0.5, json.dumps(method), batch, seed)
           for seed in range(SWEEP.seeds) for batch in SWEEP_BATCHES
           for arm, (optimizer, lr, method) in SWEEP_ARMS.items()]  # fmt: skip
    yield [_tuning("lr", regime, "AdamW", lr, METHODS["AdamW"]) for regime in REGIMES for lr in LRS]
    lrs = {regime: chosen(rows(), "lr", regime, "AdamW")["cell"]["lr"] for regime in REGIMES}
    yield [_tuning("rho", regime, arm, lrs[regime], {**method, "rho": rho})
           for regime in REGIMES for arm, method in METHODS.items() for rho in rhos_of(method)]  # fmt: skip
    final = []
    for regime, shape in REGIMES.items():
        for arm, method in METHODS.items():
            best = method if arm == "AdamW" else json.loads(chosen(rows(), "rho", regime, arm)["cell"]["method"])
            final += [Cell("final", regime, arm, "adamw", lrs[regime], json.dumps(best), BATCH, 100 + seed)
                      for seed in range(shape.seeds)]  # fmt: skip
    yield final


def rhos_of(method: dict[str, Any]) -> tuple[float, ...]:
    if method["name"] == "none":
        return ()
    return LAYERWISE_RHOS if method["name"] == "look_layersam" else RHOS


def chosen(rows: list[Row], stage: str, regime: str, arm: str) -> Row:
    """The best by validation top-1, and of equals the one with the lower validation loss."""
    mine = [row for row in rows if [row["cell"][name] for name in ("stage", "regime", "arm")] == [stage, regime, arm]]
    return max(mine, key=lambda row: (row["validation_top1"], -row["validation_loss"]))


def shape_of(cell: Cell) -> Regime:
    return SWEEP if cell.stage == "sweep" else REGIMES[cell.regime]


def _tuning(stage: str, regime: str, arm: str, lr: float, method: dict[str, Any]) -> Cell:
    return Cell(stage, regime, arm, "adamw", lr, json.dumps(method), BATCH, 0)


def median_or_none(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
