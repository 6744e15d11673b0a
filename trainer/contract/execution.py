"""The spec's `regularization` and `execution` sections: what is added to the loss, and how the passes are computed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.contract.spec_part import SpecPart


class Regularization(SpecPart):
    """What makes the training loss harder than that of the images alone (timm's mixup and cutmix)."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that goes to all classes alike. 0 is off."""
    mixup_alpha: float = Field(default=0.0, ge=0, le=100)
    """Images of a pass are blended with each other, by a share drawn from Beta(alpha, alpha) once a pass. 0 is off."""
    cutmix_alpha: float = Field(default=0.0, ge=0, le=100)
    """A rectangle is taken from another image, of a share drawn from Beta(alpha, alpha) once a pass. 0 is off."""
    mix_probability: float = Field(default=1.0, ge=0, le=1)
    """How many of the passes are mixed, where mixup or cutmix is on."""
    cutmix_share: float = Field(default=0.5, ge=0, le=1)
    """Of the mixed passes, how many take cutmix where both are on."""

    @property
    def mixes(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0


class Execution(SpecPart):
    """How the passes are computed. None of it changes what is trained, but for rounding."""

    compile: bool = False
    """Compile the training pass (torch.compile); the first step takes a minute longer."""
    channels_last: bool = False
    """Images and convolutions in the memory order N, H, W, C, which tensor cores prefer."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: a third slower, much less memory."""
    tf32: bool = False
    """Matrix products and convolutions of fp32 in TF32 where the GPU has it: about three decimal digits."""
    sharding: Literal["none", "full"] = "none"
    """What a worker keeps of the weights, their gradients, the optimizer's moments and the stored direction. none: all
    of it; full: its share (torch's FSDP2), for models that one GPU cannot hold. Needs several workers."""
