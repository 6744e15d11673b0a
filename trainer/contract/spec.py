"""The training spec: what a person asks for, what the database keeps, what the trainer reads.

One class everywhere (design page, `trainer/contract`). Unknown fields are refused from people (`TrainingSpec`) and
ignored in what Basin itself stored (`stored_spec`), so that a row written by a newer version can still be read.
Every default is visible here; the string under a field documents it: unit, range, what "off" is.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trainer.contract.model_names import is_model_name, similar_model_names

MAX_STEPS = 100_000_000
MAX_MODEL_ARGUMENTS = 64


class SpecPart(BaseModel):
    """Base of every section: frozen, unknown fields refused, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Model(SpecPart):
    """The network, by its name in timm's registry."""

    name: str = Field(max_length=128, examples=["vit_tiny_patch16_224"])
    """A model of timm's registry. No code outside timm is ever run."""
    arguments: dict[str, Any] = Field(default_factory=dict, examples=[{"patch_size": 2, "embed_dim": 64, "depth": 3}])
    """Keyword arguments for `timm.create_model`, beside those the data decides (classes, channels, image size)."""
    image_size: int | None = Field(default=None, ge=1, le=4096)
    """Side of the square input in pixels; images are resized to it. Off (null): the data's own size."""

    @field_validator("name")
    @classmethod
    def _known_to_timm(cls, name: str) -> str:
        if not is_model_name(name):
            near = ", ".join(similar_model_names(name)) or "see `timm.list_models()`"
            raise ValueError(f"must be a model of timm's registry; near it: {near}")
        return name

    @field_validator("arguments")
    @classmethod
    def _bounded_and_free(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if len(arguments) > MAX_MODEL_ARGUMENTS:
            raise ValueError(f"must hold at most {MAX_MODEL_ARGUMENTS} arguments, has {len(arguments)}")
        decided = {"num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path", "pretrained_cfg"} & set(
            arguments
        )
        if decided:
            raise ValueError(
                f"must not set {', '.join(sorted(decided))}: the data and `model.image_size` decide these; remove them"
            )
        return arguments


class DigitsData(SpecPart):
    """scikit-learn's digits: 1,797 grey images of 8 x 8 in 10 classes, shipped with the library."""

    source: Literal["digits"] = "digits"
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images held out for validation, split by class with `split_seed`. Between 0 and 1, both excluded."""
    train_size: int | None = Field(default=None, ge=10, le=1797)
    """Use only this many training images (balanced by class). Off (null): all that the split leaves."""
    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the split, apart from `seed`, so that runs with other seeds see the same split."""


class SGD(SpecPart):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """0 is off."""
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """L2 decay added to the gradient given to the optimizer, >= 0; never part of the loss. 0 is off."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> SGD:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0: set `momentum`, for example 0.9, or drop `nesterov`")
        return self


class AdamW(SpecPart):
    """AdamW with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    """Decoupled decay, >= 0. 0 is off."""


Optimizer = Annotated[SGD | AdamW, Field(discriminator="name")]


class NoMethod(SpecPart):
    """The base optimizer alone: one gradient evaluation a step."""

    name: Literal["none"] = "none"


class SAM(SpecPart):
    """Sharpness-aware minimisation; with `k` > 1 a SAM step every k steps and a base step otherwise (SAM-k)."""

    name: Literal["sam"]
    rho: float = Field(default=0.05, ge=0, le=100)
    """Radius of the ascent, an absolute L2 norm over all parameters, >= 0."""
    k: int = Field(default=1, ge=1, le=10_000)
    """Ascend every k steps, >= 1."""


class LookSAM(SpecPart):
    """LookSAM: the ascent gradient every k steps, its stored direction g_v reused in between (arXiv 2203.02714)."""

    name: Literal["looksam"]
    rho: float = Field(default=0.05, ge=0, le=100)
    """Radius of the ascent, an absolute L2 norm over all parameters, >= 0."""
    k: int = Field(default=5, ge=1, le=10_000)
    """Refresh the stored direction every k steps, >= 1."""
    alpha: Annotated[float, Field(ge=0, le=100)] | Literal["auto"] = "auto"
    """Strength of the reuse: the correction's norm is alpha * ||g||. A number >= 0, or "auto": the shrunk estimate
    min(1, ||g_v||/||g||) * c, where c follows the cosine between successive directions."""


Method = Annotated[NoMethod | SAM | LookSAM, Field(discriminator="name")]


class Schedule(SpecPart):
    """Learning-rate schedule over the whole run, in steps."""

    name: Literal["constant", "cosine", "linear"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0, le=MAX_STEPS)
    """Linear warm-up from 0 to `lr` over so many steps. 0 is off."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """What is left of `lr` at the end of the run, after its last step, as a fraction of it. Ignored by `constant`."""


class Evaluation(SpecPart):
    """When the validation set is measured; the last step always is."""

    every_epochs: int = Field(default=1, ge=1, le=1_000_000)
    """Epochs between two validations, >= 1."""
    batch_size: int | None = Field(default=None, ge=1, le=65_536)
    """Images in one forward pass of one worker. Off (null): `micro_batch_size`."""


class Checkpoint(SpecPart):
    """When the state is saved; a run that is stopped and the last step always save."""

    every_steps: int = Field(default=100, ge=1, le=MAX_STEPS)
    """Steps between two checkpoints, >= 1."""
    keep: int = Field(default=2, ge=1, le=100)
    """How many of the newest are kept, >= 1."""


class Logging(SpecPart):
    """How often numbers are reported."""

    every_steps: int = Field(default=10, ge=1, le=MAX_STEPS)
    """Steps between two metric points, >= 1. A method's signals come with the refreshes, thinned to about this."""


class Resources(SpecPart):
    """What the run occupies: all workers at once, or none."""

    workers: int = Field(default=1, ge=1, le=4096)
    """Data-parallel processes (world_size), >= 1."""
    gpus_per_worker: int = Field(default=0, ge=0, le=1)
    """1 trains on a GPU (nccl), 0 on a CPU slot (gloo)."""


class TrainingSpec(SpecPart):
    """A training run, completely: the same spec on the same software gives the same numbers."""

    spec_version: Literal[1] = 1
    model: Model
    data: DigitsData = DigitsData()
    optimizer: Optimizer
    method: Method = NoMethod()
    schedule: Schedule = Schedule()
    global_batch_size: int = Field(ge=1, le=10_000_000)
    """Images per step over all workers and micro-batches."""
    micro_batch_size: int | None = Field(default=None, ge=1, le=1_000_000)
    """Images in one forward-backward pass of one worker. Off (null): the worker's whole share. More passes are
    accumulated: global_batch_size = workers * micro_batch_size * accumulation."""
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    """Arithmetic of the passes; bf16 is autocast over fp32 weights."""
    epochs: float | None = Field(default=None, gt=0, le=1e6)
    """Length in passes over the training set. Give this or `steps`."""
    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """Length in optimizer steps. Give this or `epochs`."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds initialisation, data order, dropout and drop-path; the same seed pairs runs."""
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint = Checkpoint()
    logging: Logging = Logging()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _length_is_given_once(self) -> TrainingSpec:
        if self.epochs is None and self.steps is None:
            raise ValueError("`steps` None must be given, or `epochs`: give one of the two")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"`steps` {self.steps} must stand alone, only one of `steps` and `epochs`: remove one")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> TrainingSpec:
        workers = self.resources.workers
        if self.global_batch_size % workers:
            nearest = max(1, round(self.global_batch_size / workers)) * workers
            raise ValueError(
                f"`global_batch_size` {self.global_batch_size} must divide by `resources.workers` {workers}: "
                f"take {nearest}, or change the workers"
            )
        share = self.global_batch_size // workers
        if self.micro_batch_size is not None and share % self.micro_batch_size:
            raise ValueError(
                f"`micro_batch_size` {self.micro_batch_size} must divide a worker's share of the batch, {share} "
                f"(`global_batch_size` {self.global_batch_size} / {workers} workers): take a divisor of {share}"
            )
        return self

    @property
    def world_size(self) -> int:
        return self.resources.workers

    @property
    def pass_size(self) -> int:
        """Images in one forward-backward pass of one worker."""
        return self.micro_batch_size or self.global_batch_size // self.world_size

    @property
    def accumulation(self) -> int:
        """Forward-backward passes of one worker that make one gradient evaluation."""
        return self.global_batch_size // (self.world_size * self.pass_size)

    def total_steps(self, train_images: int) -> int:
        """Optimizer steps of the whole run for a training set of `train_images`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * train_images / self.global_batch_size))


def stored_spec(document: dict[str, Any]) -> TrainingSpec:
    """Reads a spec that Basin itself stored: fields this version does not know are ignored, wrong values are not."""
    return TrainingSpec.model_validate(document, extra="ignore")
