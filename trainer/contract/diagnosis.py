"""What the parts of an installation tell each other when a person asks whether all is well (`basin doctor`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MARKER = "basin-doctor "
"""Begins the one line of a node's job that holds its findings as JSON."""
PROBE_PREFIX = ".doctor-"
"""Of the folder on the storage in which every part writes a file of its own."""


class NodeTask(BaseModel):
    """What a machine that trains is to look at, and to compare with. What is null or empty is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    part: str
    """How its findings name it."""
    gpus: int = Field(default=0, ge=0)
    """That it should offer."""
    storage: str | None = None
    spool: str | None = None
    """Null: the trainer's own choice."""
    api_url: str | None = None
    versions: dict[str, str | None] = Field(default_factory=dict)
    """The control plane's: "basin", "revision", "python"."""
    ray_version: str | None = None
    """The head's."""
    probe_folder: str = ""
    """Relative to the storage."""
    probes: dict[str, str] = Field(default_factory=dict)
    """Files in it that other parts wrote, with their content."""
    probe_name: str = ""
    """The file that this part writes there."""
