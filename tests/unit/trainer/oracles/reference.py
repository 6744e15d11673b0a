"""SAM, LookSAM and their layer-wise forms in plain NumPy, float64: slow, obvious, and sharing nothing with the trainer.

Written from the formulas: lists of arrays, loops over them, g_v itself kept instead of its direction. A method is the
`method` section of a spec as a user writes it, with defaults written here once more.

    scope                one block of all weights ("global") or one for each tensor; split and reuse go block by block
    k, start, stop       a refresh where (t - start) mod k == 0; outside of start <= t < stop the base step
    per_microbatch       eps_i = rho * unit(g_i), g_s = mean_i grad L_i(w + eps_i), g = mean_i g_i; one g_v from both
    alpha, c             one number for each block; c <- 0.8 c + 0.2 max(0, cos), alpha = min(1, ||g_v||/||g||) c
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.unit.trainer.oracles.network import Arrays, joined, size

Loss = Callable[[Arrays], tuple[float, Arrays]]
"""Value and gradient at given weights."""

GATE = 1e-12
"""tau in float64: what is left of g_v below this share of ||g_s|| is rounding."""


@dataclass
class Row:
    """What is known after a step."""

    weights: Arrays
    direction: Arrays
    """d, what the base optimizer was given."""
    alpha: np.ndarray
    """One number for each block, in use from this step on."""
    persistence: np.ndarray
    """c, likewise."""
    evaluations: int
    """Gradient evaluations so far."""
    signals: dict[str, float] = field(default_factory=dict)


class Reference:
    """One method, step by step."""

    def __init__(self, method: dict[str, Any], rho: Callable[[int], float] | None = None) -> None:
        self.name = method["name"]
        self.reuses = self.name in ("looksam", "look_layersam")
        self.layerwise = method.get("layerwise", "trust") if self.name.endswith("layersam") else None
        self.excluded = method.get("one_dimensional", "unscaled") == "excluded"
        self.k = method.get("k", 5 if self.reuses else 1)
        self.alpha_rule = method.get("alpha", "auto")
        self.per_tensor = method.get("scope", "global") == "per_tensor"
        self.per_microbatch = method.get("perturbation", "global") == "per_microbatch"
        self.start, self.stop = method.get("start_step", 0), method.get("stop_step") or np.inf
        self.rho = rho or (lambda t: method.get("rho", 0.05))
        self.g_v: Arrays | None = None
        self.alpha = self.c = np.zeros(1)
        self.evaluations = 0
        self.signals: dict[str, float] = {}

    def direction(self, t: int, w: Arrays, losses: Sequence[Loss]) -> Arrays:
        """d of step t at weights w; `losses` are the micro-batches' means."""
        loss, g = mean(each(w) for each in losses)
        self.evaluations += 1
        self.signals = {"grad_norm": size(joined(g)), "train_loss": loss}
        active = self.name != "none" and self.start <= t < self.stop
        if not active:
            return g
        if (t - self.start) % self.k == 0:
            return self._refreshed(self.rho(t), w, loss, g, losses)
        return self._reused(g) if self.reuses else g

    def _refreshed(self, rho: float, w: Arrays, loss: float, g: Arrays, losses: Sequence[Loss]) -> Arrays:
        if self.per_microbatch:
            there, g_s = mean(each(added(w, self._eps(rho, w, each(w)[1]))) for each in losses)
        else:
            perturbed = added(w, self._eps(rho, w, g))
            there, g_s = mean(each(perturbed) for each in losses)
        self.evaluations += 1
        self._tell(size(joined(self._eps(rho, w, g))), there - loss, joined(g), joined(g_s))
        if self.reuses:
            self._split(g, g_s)
        return g_s

    def _eps(self, rho: float, w: Arrays, g: Arrays) -> Arrays:
        whole = size(joined(g))
        if whole == 0:
            return [np.zeros_like(gl) for gl in g]
        if self.layerwise is None:
            return [rho * gl / whole for gl in g]
        one_dimensional = [wl.ndim <= 1 for wl in w]
        trust_is_one = [one or size(wl) == 0 for one, wl in zip(one_dimensional, w, strict=True)]
        left_out = [size(gl) == 0 or (one and self.excluded) for one, gl in zip(one_dimensional, g, strict=True)]
        trust = [1.0 if one else size(wl) for one, wl in zip(trust_is_one, w, strict=True)]
        dual = np.sqrt(sum((T * size(gl)) ** 2 for T, gl, out in zip(trust, g, left_out, strict=True) if not out))
        eps = []
        for T, gl, is_one, out in zip(trust, g, trust_is_one, left_out, strict=True):
            if out:
                eps.append(np.zeros_like(gl))
            elif self.layerwise == "trust":
                eps.append(rho * T * gl / size(gl))
            elif self.layerwise == "literal":
                eps.append(rho * (1.0 if is_one else T / size(gl)) * gl / whole)
            elif self.layerwise == "unit":
                eps.append(rho * gl / size(gl))
            else:
                eps.append(rho * T**2 * gl / dual)
        return eps

    def _blocks(self, arrays: Arrays) -> Arrays:
        return [array.ravel() for array in arrays] if self.per_tensor else [joined(arrays)]

    def _split(self, g: Arrays, g_s: Arrays) -> None:
        blocks = list(zip(self._blocks(g), self._blocks(g_s), strict=True))
        before, self.g_v = self.g_v, [orthogonal_part(a, b) for a, b in blocks]
        c, cosines = np.resize(self.c, len(blocks)).astype(float), []
        for i, new in enumerate(self.g_v):
            if before is not None and new.any() and before[i].any():
                cosines.append((new @ before[i]) / (size(new) * size(before[i])))
                c[i] = 0.8 * c[i] + 0.2 * max(0.0, cosines[-1])
        ratios = np.array([size(v) / size(a) if a.any() else 0.0 for v, (a, _) in zip(self.g_v, blocks, strict=True)])
        if cosines:
            self.signals["direction_cosine"] = float(np.mean(cosines))
        self.signals["orthogonal_ratio"] = size(joined(self.g_v)) / size(joined(g))
        if self.alpha_rule == "auto":
            self.c, self.alpha = c, np.minimum(1.0, ratios) * c
            self.signals["persistence"] = float(c.mean())
        else:
            self.alpha = ratios if self.alpha_rule == "fresh_ratio" else np.full(len(blocks), float(self.alpha_rule))
        if not self.per_tensor:
            self.signals |= {"alpha": self.alpha[0], "reuse_amplification": self.alpha[0] * size(joined(g))}
            self.signals["reuse_amplification"] /= size(self.g_v[0])

    def _reused(self, g: Arrays) -> Arrays:
        assert self.g_v is not None
        d = []
        for alpha, a, g_v in zip(self.alpha, self._blocks(g), self.g_v, strict=True):
            d.append(a + alpha * (size(a) / size(g_v)) * g_v if g_v.any() else a)
        flat, sizes = joined(d), np.cumsum([gl.size for gl in g])[:-1]
        return [part.reshape(gl.shape) for part, gl in zip(np.split(flat, sizes), g, strict=True)]

    def _tell(self, length: float, rise: float, g: np.ndarray, g_s: np.ndarray) -> None:
        self.signals |= {
            "loss_rise": rise,
            "perturbed_grad_norm": size(g_s),
            "gradient_cosine": (g @ g_s) / (size(g) * size(g_s)),
            "orthogonal_ratio": size(orthogonal_part(g, g_s)) / size(g),
            "directional_curvature": ((g_s - g) @ g) / size(g) / length,
        }


class Momentum:
    """SGD with momentum and L2 decay of the tensors of two axes or more, by hand.

    `lr_shares`: each tensor's share of the learning rate; None: all of it.
    """

    def __init__(
        self, momentum: float = 0.9, weight_decay: float = 0.0, *, nesterov: bool = False,
        lr_shares: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.lr_shares = lr_shares
        self.velocity: Arrays | None = None

    def step(self, w: Arrays, d: Arrays, lr: float) -> Arrays:
        d = [dl + self.weight_decay * wl if wl.ndim > 1 else dl for wl, dl in zip(w, d, strict=True)]
        before = self.velocity or [np.zeros_like(dl) for dl in d]
        self.velocity = [self.momentum * v + dl for v, dl in zip(before, d, strict=True)]
        update = [dl + self.momentum * v for v, dl in zip(self.velocity, d, strict=True)] if self.nesterov else None
        shares = self.lr_shares or [1.0] * len(w)
        return [wl - share * lr * u for wl, u, share in zip(w, update or self.velocity, shares, strict=True)]


def train(
    reference: Reference, w: Arrays, losses_at: Callable[[int], Sequence[Loss]], lr: Callable[[int], float],
    base: Any, steps: int,
) -> list[Row]:  # fmt: skip
    """`steps` steps; `base.step(w, d, lr)` gives the weights after one."""
    rows = []
    for t in range(steps):
        d = reference.direction(t, w, losses_at(t))
        w = base.step(w, d, lr(t))
        rows.append(Row(w, d, reference.alpha, reference.c, reference.evaluations, dict(reference.signals)))
    return rows


def orthogonal_part(g: np.ndarray, g_s: np.ndarray) -> np.ndarray:
    """g_v = g_s - (<g, g_s>/||g||^2) g; zeros where no more than rounding is left."""
    g_v = g_s - (g @ g_s) / (g @ g) * g if g.any() else g_s
    return g_v if size(g_v) > GATE * size(g_s) else np.zeros_like(g_v)


def added(w: Arrays, eps: Arrays) -> Arrays:
    return [wl + el for wl, el in zip(w, eps, strict=True)]


def mean(found: Any) -> tuple[float, Arrays]:
    """Of (loss, gradient) pairs."""
    values, gradients = zip(*found, strict=True)
    return float(np.mean(values)), [sum(parts) / len(parts) for parts in zip(*gradients, strict=True)]
