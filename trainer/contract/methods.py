"""The spec's `method` section: none, SAM, LookSAM and their layer-wise forms.

Where `rho` is relative, an absolute default would be wrong, so the layer-wise methods ask for it (issue 3).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainer.contract.spec_part import MAX_STEPS, SpecPart

Layerwise = Literal["trust", "literal", "unit", "asam_dual"]
Alpha = Annotated[float, Field(ge=0, le=100)] | Literal["auto", "fresh_ratio"]
Scope = Literal["global", "per_tensor"]

RHO_UNITS: dict[str, str] = {
    "trust": "a share of each tensor's own L2 norm: ||eps^l|| = rho * ||w^l||",
    "literal": "||eps^l|| = rho * ||w^l|| / ||g||, which depends on the scale of the loss",
    "unit": "an absolute L2 norm for each tensor: ||eps^l|| = rho",
    "asam_dual": "relative, over all tensors together: the norm of all eps^l / ||w^l|| is rho",
}
"""What `rho` means under each layer-wise rule; the error for a missing rho says it."""


class NoMethod(SpecPart):
    """The base optimizer alone: one gradient evaluation a step."""

    name: Literal["none"] = "none"


class _Ascending(SpecPart):
    """What all methods share that take a second gradient."""

    name: str
    rho: float = Field(default=0.05, ge=0, le=100)
    """Radius of the ascent, an absolute L2 norm over all parameters, >= 0."""
    k: int = Field(default=1, ge=1, le=10_000)
    """Ascend every k steps, >= 1."""
    rho_schedule: Literal["constant", "learning_rate"] = "constant"
    """learning_rate: the radius of a step is `rho` times the learning rate over its peak."""
    start_step: int = Field(default=0, ge=0, le=MAX_STEPS)
    """The method begins with this step, counted from 0; the base optimizer trains alone before it. 0 is off."""
    stop_step: int | None = Field(default=None, ge=1, le=MAX_STEPS)
    """The base optimizer trains alone from this step on. Off (null): to the end."""
    perturbation: Literal["global", "per_rank", "per_microbatch"] = "global"
    """Whose gradient the ascent follows: the global batch's, each worker's own, or each micro-batch's own (smaller
    batches for the ascent, m-sharpness). The second gradients are averaged over the global batch in all three."""

    @model_validator(mode="after")
    def _stops_after_it_starts(self) -> Self:
        if self.stop_step is not None and self.stop_step <= self.start_step:
            raise ValueError(
                f"`stop_step` {self.stop_step} must be > `start_step` {self.start_step}: raise it or remove it"
            )
        return self


class SAM(_Ascending):
    """Sharpness-aware minimisation; with `k` > 1 a SAM step every k steps and a base step otherwise (SAM-k)."""

    name: Literal["sam"]


class LookSAM(_Ascending):
    """LookSAM: the ascent gradient every k steps, its stored direction g_v reused in between (arXiv 2203.02714)."""

    name: Literal["looksam"]
    k: int = Field(default=5, ge=1, le=10_000)
    """Refresh the stored direction every k steps, >= 1."""
    alpha: Alpha = "auto"
    """Strength of the reuse: the correction's norm is alpha * ||g||. A number >= 0; "auto": the shrunk estimate
    min(1, ||g_v||/||g||) * c, where c follows the cosine between successive directions; "fresh_ratio": ||g_v||/||g||
    of the last refresh as it is, for study (it trusts the stored direction fully)."""
    scope: Scope = "global"
    """Norms and inner products of the split and the reuse: over all parameters as one vector, or tensor by tensor. The
    ascent is one over all in both."""


class _Layerwise(_Ascending):
    """What LayerSAM and Look-LayerSAM share."""

    rho: float = Field(ge=0, le=100)
    """Radius of the ascent, >= 0. Required: its unit depends on `layerwise`. trust: a share of each tensor's own L2
    norm; literal: that divided by ||g||; unit: an absolute norm for each tensor; asam_dual: relative, over all."""
    layerwise: Layerwise = "trust"
    """How the ascent is shared out over the tensors (docs/methods.md). trust: eps^l = rho * ||w^l|| *
    g^l/||g^l||; literal: rho * (||w^l||/||g^l||) * g^l/||g||; unit: rho * g^l/||g^l||; asam_dual: rho * T_l^2 * g^l /
    ||T g|| with T_l = ||w^l||. Where ||w^l|| is 0, the tensor is treated like one that is not scaled."""
    one_dimensional: Literal["unscaled", "excluded"] = "unscaled"
    """Biases, norm layers and other tensors of at most one axis. unscaled: trust 1, that is ||w^l|| replaced by 1;
    excluded: they are not perturbed."""

    @model_validator(mode="before")
    @classmethod
    def _rho_is_required(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("rho") is None:
            rule = document.get("layerwise", "trust")
            unit = RHO_UNITS.get(rule, RHO_UNITS["trust"]) if isinstance(rule, str) else RHO_UNITS["trust"]
            raise ValueError(f"`rho` None must be given, its unit under `layerwise` {rule} is {unit}: set `rho`")
        return document


class LayerSAM(_Layerwise):
    """SAM whose ascent is scaled tensor by tensor, because layers differ in stability (arXiv 2203.02714)."""

    name: Literal["layersam"]


class LookLayerSAM(_Layerwise):
    """Look-LayerSAM: LookSAM with the layer-wise ascent, meant for very large batches (arXiv 2203.02714)."""

    name: Literal["look_layersam"]
    k: int = Field(default=5, ge=1, le=10_000)
    """Refresh the stored direction every k steps, >= 1."""
    alpha: Alpha = "auto"
    """Strength of the reuse, as LookSAM's: a number >= 0, "auto" or "fresh_ratio"."""
    scope: Scope = "global"
    """Norms and inner products of the split and the reuse, as LookSAM's; the ascent follows `layerwise` in both."""


Method = Annotated[NoMethod | SAM | LookSAM | LayerSAM | LookLayerSAM, Field(discriminator="name")]
