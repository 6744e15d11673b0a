"""The spec's `optimizer` section: the base optimizer, which takes the method's descent direction as its gradient."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.contract.spec_part import SpecPart

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Base(SpecPart):
    """What all base optimizers share."""

    name: str
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Learning rate of a layer as a fraction of that of the layer behind it, by timm's grouping of the model's layers:
    for fine-tuning, 0.65 to 0.8. Off (null): one learning rate."""


class SGD(_Base):
    """Stochastic gradient descent (torch.optim.SGD)."""

    name: Literal["sgd"]
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


class AdamW(_Base):
    """AdamW with decoupled weight decay (torch.optim.AdamW)."""

    name: Literal["adamw"]
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0, le=10)
    """Decoupled decay, >= 0. 0 is off."""


class LAMB(_Base):
    """LAMB: AdamW's update, scaled per tensor by ||w^l||/||update^l|| for very large batches (timm's Lamb)."""

    name: Literal["lamb"]
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0. A relative one: the update of a tensor has about lr times the tensor's norm."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-6, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    """Decay added to the update before its norm is taken, >= 0. 0 is off."""
    max_grad_norm: float | None = Field(default=None, gt=0, le=1e6)
    """LAMB's own clipping of the direction it is given, an L2 norm over all parameters. Off (null): no clipping."""


class LARS(_Base):
    """LARS: SGD whose update is scaled per tensor by ||w^l||/||g^l|| for very large batches (timm's Lars)."""

    name: Literal["lars"]
    lr: float = Field(gt=0, le=1e3)
    """Peak learning rate, > 0; of the order of 1 to 10, since `trust_coefficient` multiplies it."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """0 is off."""
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Decay added to the direction before its norm is taken, >= 0. 0 is off."""
    trust_coefficient: float = Field(default=0.001, gt=0, le=1)
    """Factor on ||w^l||/||g^l||, > 0."""


class Lion(_Base):
    """Lion: the sign of an interpolated momentum (timm's Lion). Learning rates a third to a tenth of AdamW's."""

    name: Literal["lion"]
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Decoupled decay, >= 0; three to ten times AdamW's goes with the smaller learning rate. 0 is off."""


class Muon(_Base):
    """Muon: the momentum of a matrix, orthogonalised; AdamW for tensors of at most one axis (timm's Muon)."""

    name: Literal["muon"]
    momentum: float = Field(default=0.95, ge=0, lt=1)
    nesterov: bool = True
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Of the AdamW that trains the tensors of at most one axis."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Decoupled decay, >= 0. 0 is off."""


Optimizer = Annotated[SGD | AdamW | LAMB | LARS | Lion | Muon, Field(discriminator="name")]

ELEMENTWISE = ("sgd", "adamw", "lion")
"""Those whose update of an element needs nothing of the others: they work on any part of a tensor."""
