"""The base of every section of a training spec."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MAX_STEPS = 100_000_000


class SpecPart(BaseModel):
    """Base of every section: frozen, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
