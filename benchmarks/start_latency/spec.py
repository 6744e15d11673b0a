"""What every arm trains: the same digits, the same small vision transformer, LookSAM; the first step has two passes."""

from __future__ import annotations

from typing import Any


def spec_for(workers: int) -> dict[str, Any]:
    return {
        "model": {
            "name": "vit_tiny_patch16_224",
            "arguments": {"patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4},
        },
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "method": {"name": "looksam"},
        "global_batch_size": 256,
        "steps": 3,
        "resources": {"workers": workers},
    }
