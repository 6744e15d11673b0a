"""The spec's `optimizer` section: the base optimizer, which takes the method's descent direction as its gradient."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.contract.spec_part import SpecPart


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


class LAMB(SpecPart):
    """LAMB: AdamW's update, scaled per tensor by ||w^l||/||update^l|| for very large batches (timm's Lamb)."""

    name: Literal["lamb"]
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0. A relative one: the update of a tensor has about lr times the tensor's norm."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(default=1e-6, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    """Decay added to the update before its norm is taken, >= 0. 0 is off."""
    max_grad_norm: float | None = Field(default=None, gt=0, le=1e6)
    """LAMB's own clipping of the direction it is given, an L2 norm over all parameters. Off (null): no clipping."""


Optimizer = Annotated[SGD | AdamW | LAMB, Field(discriminator="name")]
