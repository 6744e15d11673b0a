"""The spec's `model.init_from` section: trained weights that a run starts with, in place of random ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from trainer.contract.data import DataPath
from trainer.contract.spec_part import SpecPart

RunId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,64}$")]


class InitFrom(SpecPart):
    """Where a run's first weights come from: one of the four. The head is drawn anew where its number of classes
    differs; all else must fit."""

    checkpoint: DataPath | None = Field(default=None, examples=["runs/5f2a9c01d3e4/checkpoints/step-00000100"])
    """A checkpoint of Basin, or a folder that holds `checkpoints/`, whose newest is taken. Absolute, or relative to a
    data root or the storage. Off (null)."""
    run: RunId | None = Field(default=None, examples=["5f2a9c01d3e4"])
    """A run of the service that you may see, by its id: its newest checkpoint when this run starts. Off (null)."""
    folder: DataPath | None = Field(default=None, examples=["models/pets"])
    """A folder of model.safetensors and config.json in timm's hub layout, as `basin run export` writes it. Absolute, or
    relative to a data root or the storage. Off (null)."""
    timm_pretrained: bool = False
    """The weights that timm offers for the model, fetched by the machine that trains; image size and channels are
    adapted as timm does."""

    @model_validator(mode="after")
    def _one_is_given(self) -> InitFrom:
        given = [name for name in ("checkpoint", "run", "folder") if getattr(self, name) is not None]
        given += ["timm_pretrained"] if self.timm_pretrained else []
        if len(given) != 1:
            has = ", ".join(given) or "none"
            raise ValueError(
                f"must hold exactly one of checkpoint, run, folder and timm_pretrained: true; it holds {has}"
            )
        return self

    @property
    def path(self) -> tuple[str, str] | None:
        """The field that names a path, and the path."""
        for name, value in (("checkpoint", self.checkpoint), ("folder", self.folder)):
            if value is not None:
                return name, value
        return None
