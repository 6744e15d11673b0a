"""What people send: the bodies of POST and PATCH."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from trainer.contract.spec import TrainingSpec

Visibility = Literal["private", "team"]

EXAMPLE_SPEC: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4},
    },
    "optimizer": {"name": "adamw", "lr": 0.001},
    "method": {"name": "looksam", "rho": 0.05, "k": 5},
    "global_batch_size": 256,
    "epochs": 10,
    "resources": {"workers": 2},
}


def _on_one_line(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text):
        raise ValueError("must be on one line, without control characters")
    return text


Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), AfterValidator(_on_one_line)
]
RunId = Annotated[str, StringConstraints(min_length=1, max_length=16, pattern=r"^[a-z0-9]+$")]
Priority = Annotated[int, Field(ge=-1000, le=1000)]


class Submission(BaseModel):
    """Body of POST /runs."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"name": "looksam on digits", "project": "digits", "spec": EXAMPLE_SPEC}]},
    )

    spec: TrainingSpec
    name: Title | None = None
    """Off (null): made of method and model."""
    project: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    study: Title | None = None
    """Group of runs meant to be compared, by its name. Off (null): none."""
    priority: Priority = 0
    """Place in the queue: higher starts first; among equal ones fair share and age decide. -1000 to 1000."""
    visibility: Visibility = "team"
    """"team": everybody with a token sees the run; "private": only its owner and admins."""
    preemptible: bool = True
    """True: where the installation allows it, the run may be paused, with a checkpoint, for one of higher priority."""
    copied_from: RunId | None = None
    """The run whose edited copy this is. Off (null): none."""


class RunEdit(BaseModel):
    """Body of PATCH /runs/{run_id}; what is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, json_schema_extra={"examples": [{"priority": 10}]}
    )

    name: Title | None = None
    """Off (null): stays as it is."""
    study: Title | None = None
    """Null takes the run out of its study; left out, it stays."""
    priority: Priority | None = None
    """Only while the run is queued. -1000 to 1000, higher starts first. Off (null): stays as it is."""


class RunIds(BaseModel):
    """Body of the routes that change many runs: POST /runs/cancel, /runs/pause, /runs/resume, ..."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run_ids: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(min_length=1, max_length=1000)
    ]
    """1 to 1000 runs; one named twice counts once."""


class CancelRuns(RunIds):
    """Body of POST /runs/cancel."""

    now: bool = False
    """Stop the trainers at once, without time to save, also of runs that are being cancelled already."""
