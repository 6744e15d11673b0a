"""The runs that the fault tests disturb: small, deterministic, long enough to be killed in the middle."""

from __future__ import annotations

from typing import Any

CHECKPOINT_EVERY = 20
"""Steps, unless a test says otherwise."""


def digits_run(
    *,
    steps: int,
    seed: int = 7,
    workers: int = 2,
    checkpoint_every: int = CHECKPOINT_EVERY,
    log_every: int = 1,
    global_batch_size: int = 256,
) -> dict[str, Any]:
    """LookSAM, k=5, on digits: every kind of state (moments, stored direction, c, schedule) must survive a kill."""
    return {
        "model": {
            "name": "vit_tiny_patch16_224",
            "arguments": {"patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4, "drop_path_rate": 0.1},
        },
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "method": {"name": "looksam", "rho": 0.05, "k": 5},
        "schedule": {"name": "cosine", "warmup_steps": 10},
        "global_batch_size": global_batch_size,
        "steps": steps,
        "seed": seed,
        "checkpoint": {"every_steps": checkpoint_every},
        "logging": {"every_steps": log_every},
        "resources": {"workers": workers},
    }
