"""The training spec: what a person asks for, what the database keeps, what the trainer reads.

One class everywhere. Unknown fields are refused from people (`TrainingSpec`) and
ignored in what Basin itself stored (`stored_spec`), so that a row written by a newer version can still be read.
Every default is visible here; the string under a field documents it: unit, range, what "off" is.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from trainer.contract.data import Data, DigitsData
from trainer.contract.execution import Execution, Regularization
from trainer.contract.init_from import InitFrom
from trainer.contract.limits import Limits
from trainer.contract.methods import Method, NoMethod
from trainer.contract.model_names import is_model_name, similar_model_names
from trainer.contract.optimizers import ELEMENTWISE, Optimizer
from trainer.contract.spec_part import MAX_STEPS, SpecPart

MAX_MODEL_ARGUMENTS = 64


class Model(SpecPart):
    """The network, by its name in timm's registry."""

    name: str = Field(max_length=128, examples=["vit_tiny_patch16_224"])
    """A model of timm's registry. No code outside timm is ever run."""
    arguments: dict[str, Any] = Field(default_factory=dict, examples=[{"patch_size": 2, "embed_dim": 64, "depth": 3}])
    """Keyword arguments for `timm.create_model`, beside those the data decides (classes, channels, image size)."""
    image_size: int | None = Field(default=None, ge=1, le=4096)
    """Side of the square input in pixels; images are resized to it. Off (null): the digits' own 8; for image folders
    the size that timm's configuration of the model names."""

    init_from: InitFrom | None = None
    """Trained weights to start with, for fine-tuning. Off (null): random ones, by `seed`."""

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
    sharpness_radius: float | None = Field(default=None, gt=0, le=100)
    """At the end, measure how much a step of this L2 length up the gradient of the whole training set raises its loss:
    L(w + r*g/||g||) - L(w), in evaluation mode without augmentation. One radius compares all methods; it costs about
    four forward passes over the training set. Off (null): not measured."""
    curvature_images: int | None = Field(default=None, ge=1, le=10_000_000)
    """At the end, measure the largest eigenvalue and the trace of the loss's Hessian on so many images of the training
    set, in evaluation mode without augmentation: up to 56 Hessian-vector products, each about two gradients of these
    images, and up to 40 copies of the weights in the CPU's memory. Off (null): not measured."""


class Checkpoint(SpecPart):
    """When the state is saved; a run that is stopped and the last step always save."""

    every_steps: int = Field(default=100, ge=1, le=MAX_STEPS)
    """Steps between two checkpoints, >= 1."""
    keep: int = Field(default=2, ge=1, le=100)
    """How many of the newest are kept, >= 1."""
    keep_best: bool = True
    """Save at every validation that is better than all before it (by top-1; of equals the lower loss), and keep the
    newest of these besides: at most one more checkpoint a validation, and one more on the disk."""


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
    data: Data = DigitsData()
    optimizer: Optimizer
    method: Method = NoMethod()
    schedule: Schedule = Schedule()
    global_batch_size: int = Field(ge=1, le=10_000_000)
    """Images per step over all workers and micro-batches."""
    micro_batch_size: int | None = Field(default=None, ge=1, le=1_000_000)
    """Images in one forward-backward pass of one worker. Off (null): the worker's whole share. More passes are
    accumulated: global_batch_size = workers * micro_batch_size * accumulation."""
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    """Arithmetic of the passes; bf16 and fp16 are autocast over fp32 weights, fp16 with a loss scale that adapts."""
    ascent_precision: Literal["fp32"] | None = None
    """Arithmetic of both passes where the method takes a second gradient: in bf16 most of a small ascent is rounded
    away. Off (null): `precision`."""
    clip_norm: float | None = Field(default=None, gt=0, le=1e6)
    """Shortens the final descent direction to this L2 norm, over all parameters, where it is longer. Off (null)."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Keep a moving average of the weights, which forgets this slowly (it rises to it from 0), and validate it beside
    them. Off (null)."""
    regularization: Regularization = Regularization()
    execution: Execution = Execution()
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
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _length_is_given_once(self) -> TrainingSpec:
        if self.epochs is None and self.steps is None:
            raise ValueError("`steps` None must be given, or `epochs`: give one of the two")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"`steps` {self.steps} must stand alone, only one of `steps` and `epochs`: remove one")
        return self

    @model_validator(mode="after")
    def _ascent_is_no_coarser(self) -> TrainingSpec:
        if self.ascent_precision is not None and self.precision not in ("bf16", "fp16"):
            raise ValueError(
                f"`ascent_precision` {self.ascent_precision} must stand beside `precision` bf16 or fp16, not "
                f"{self.precision}: remove it"
            )
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

    @model_validator(mode="after")
    def _mixing_pairs(self) -> TrainingSpec:
        if self.regularization.mixes and self.pass_size % 2:
            raise ValueError(
                f"`micro_batch_size` {self.pass_size} must be even, images are mixed in pairs: change it or "
                "`global_batch_size`"
            )
        return self

    @model_validator(mode="after")
    def _sharding_suits(self) -> TrainingSpec:
        if self.execution.sharding == "none":
            return self
        beside, remedy = "beside `execution.sharding` full", "or set `execution.sharding` to none"
        if self.resources.workers == 1:
            raise ValueError(
                f"`resources.workers` 1 must be > 1 {beside}, one worker has nobody to share with: raise it, {remedy}"
            )
        if self.optimizer.name not in ELEMENTWISE:
            raise ValueError(
                f"`optimizer.name` {self.optimizer.name} must be one of {', '.join(ELEMENTWISE)} {beside}, it needs "
                f"whole tensors and no worker has them: take another, {remedy}"
            )
        if not isinstance(self.method, NoMethod) and self.method.perturbation != "global":
            raise ValueError(
                f"`method.perturbation` {self.method.perturbation} must be global {beside}, no worker has a whole "
                f"gradient of its own: change it, {remedy}"
            )
        if self.ema_decay is not None:
            raise ValueError(
                f"`ema_decay` {self.ema_decay} must be null {beside}, the average is not shared out: remove it, "
                f"{remedy}"
            )
        if self.evaluation.curvature_images is not None:
            raise ValueError(
                f"`evaluation.curvature_images` {self.evaluation.curvature_images} must be null {beside}, shared-out "
                f"weights cannot be differentiated twice: remove it, {remedy}"
            )
        for name in ("compile", "channels_last"):
            if getattr(self.execution, name):
                raise ValueError(f"`execution.{name}` True must be false {beside}: set it to false, {remedy}")
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
