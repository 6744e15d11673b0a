"""timm's model names without importing timm: `model_names.txt` is generated (`make generate`), kept so by a test."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files


@cache
def model_names() -> frozenset[str]:
    return frozenset(files("trainer.contract").joinpath("model_names.txt").read_text(encoding="utf-8").split())


def is_model_name(name: str) -> bool:
    """Whether timm has the model; a pretrained tag after a dot ("vit_tiny_patch16_224.augreg_in21k") is not a model."""
    return name in model_names()


def similar_model_names(name: str, most: int = 3) -> list[str]:
    return difflib.get_close_matches(name, sorted(model_names()), n=most)
