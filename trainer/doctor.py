"""The SAM doctor: each run proves that the optimizer does what its spec says, by looking, not by trusting the code.

What is looked at, at a refresh: the size of eps against the method's formula; that all ranks moved alike (where the
ascent is the global batch's, and the ranks hold replicas: parts of one copy cannot drift apart); that the weights came
back bit for bit; that both passes saw the same images under the same masks, each once; that running statistics were
updated by the first pass alone; how much of eps survives the rounding of bf16 or fp16. At the end: how many steps were
refreshes, against the calendar.

The first three refreshes of a process are looked at, then one in fifty: it costs copies and waits for the device.
What does not hold is told once, as a warning with its remedy; training goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer import looksam
from trainer.contract.methods import LayerSAM, LookLayerSAM, NoMethod
from trainer.contract.spec import TrainingSpec
from trainer.gradient import AUTOCAST
from trainer.listener import Listener
from trainer.parallel import World
from trainer.passes import Tensors
from trainer.resume import Standing
from trainer.step import planned_refreshes

FIRST, ONE_IN = 3, 50
CODE, WARNING = "sam_doctor", "sam_doctor_warns_"
SIZE_TOLERANCE = 1e-3
"""Of eps; beside it the rounding of w + eps at the size of w."""
LEAST_COSINE = 0.9
"""Between eps and what is left of it in the precision of the passes."""
PRIME, ORDER = 2**31 - 1, 31
"""Of `digest_of`: the modulus, and what tells a tensor from its neighbour."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    item: str
    holds: bool
    seen: str
    remedy: str


@dataclass(frozen=True)
class _Pass:
    micro_batch: int
    masks: bytes
    images: float


class Doctor:
    """Watches the refreshes of a run (`trainer.passes.Watch`)."""

    def __init__(self, spec: TrainingSpec, world: World, tensors: Tensors, num_micro_batches: int) -> None:
        self._spec, self._world, self._tensors = spec, world, tensors
        self._num_micro_batches = num_micro_batches
        self._refreshes, self._is_refresh = 0, False  # those that moved the weights; in fp16 one may take several tries
        self._reported: set[str] = set()
        self._findings: list[Finding] = []
        self._last: list[Finding] = []
        self._passes: dict[bool, list[_Pass]] = {False: [], True: []}
        self._counters: list[Tensor] = []
        self.looks = False
        """Whether the current step is looked at."""

    # -- called by the step -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A step that takes a second gradient begins, in fp16 perhaps once more."""
        self._is_refresh = True
        self.looks = self._refreshes < FIRST or self._refreshes % ONE_IN == 0
        self._findings.clear()
        for passes in self._passes.values():
            passes.clear()
        if self.looks:
            self._counters = [buffer.clone() for buffer in self._counting_buffers()]

    def passed(self, micro_batch: int, perturbed: bool, images: Tensor) -> None:
        """A pass is about to draw its masks."""
        if self.looks:
            state = (
                torch.cuda.get_rng_state(images.device) if images.device.type == "cuda" else torch.get_rng_state()
            )  # fmt: skip
            self._passes[perturbed].append(_Pass(micro_batch, state.numpy().tobytes(), images.double().sum().item()))

    def perturbed(self, saved: Sequence[Tensor], gradient_norms: Tensor, rho: float, loss_scale: float) -> None:
        """The weights are at w + eps; `saved` are w."""
        if not self.looks or any(finding.item == "size" for finding in self._findings):
            return  # of several micro-batches the first is enough
        with torch.no_grad():
            eps_norms = torch.stack([
                torch.linalg.vector_norm(weight.double() - before.double())
                for weight, before in zip(self._tensors.weights, saved, strict=True)
            ])  # fmt: skip
            if self._tensors.over_ranks is not None:
                eps_norms = self._tensors.over_ranks(eps_norms.square()).sqrt()
            self._findings.append(self._size(eps_norms, saved, gradient_norms, rho, loss_scale))
            if self._spec.precision in AUTOCAST and self._spec.ascent_precision is None and rho > 0:
                self._findings.append(self._survival(saved))
            are_replicas = self._world.size > 1 and self._tensors.over_ranks is None
            if are_replicas and getattr(self._spec.method, "perturbation", "") == "global":
                self._findings.append(self._alike())

    def restored(self, saved: Sequence[Tensor]) -> None:
        """The weights should be w again."""
        if self.looks:
            same = all(torch.equal(a, b) for a, b in zip(self._tensors.weights, saved, strict=True))
            if self._tensors.over_ranks is not None:  # rank 0, which tells, has seen its own parts only
                differing = torch.full((), float(not same), device=saved[0].device)
                same = self._tensors.over_ranks(differing).item() == 0
            if same and any(finding.item == "restore" for finding in self._findings):
                return  # said of the first micro-batch
            self._findings.append(Finding(
                item="restore", holds=same, seen=f"weights {'came' if same else 'did not come'} back bit for bit",
                remedy="Something else writes to the weights during a step, such as a hook of the model: remove it.",
            ))  # fmt: skip

    # -- called by the loop -------------------------------------------------------------------------------------------

    def tell(self, standing: Standing, tell: Listener) -> None:
        """After each step. Counts the refreshes, and says what was found where one was looked at."""
        if self._is_refresh:
            self._is_refresh = False
            self._refreshes += 1
            standing.refreshes += 1
        if not self.looks:
            return
        self.looks = False
        findings = [*self._findings, *self._of_the_passes()]
        for finding in findings:
            if not finding.holds and finding.item not in self._reported:
                self._reported.add(finding.item)
                tell.notice(WARNING + finding.item, f"{_sentence(finding.seen)} {finding.remedy}", standing.step)
        if self._refreshes == FIRST:
            tell.notice(CODE, self._summary(findings), standing.step)
        self._last = findings

    def tell_end(self, standing: Standing, total: int, tell: Listener) -> None:
        """After the last step: the share of refreshes, against the calendar."""
        done, taken = standing.step, standing.refreshes
        if isinstance(self._spec.method, NoMethod) or done < total:
            return
        if 0 < self._refreshes < FIRST:
            tell.notice(CODE, self._summary(self._last), done)
        planned = planned_refreshes(self._spec.method, total)
        text = f"{taken} of {total} steps took a second gradient; the calendar has {planned}"
        if taken < planned:
            remedy = "A refresh was left out, which is an error in Basin: please report it with this run's spec."
            tell.notice(WARNING + "calendar", f"{_sentence(text)} {remedy}", done)
        else:
            more = f"; {taken - planned} more after a resume" if taken > planned else ""
            tell.notice(CODE + "_calendar", f"{text}{more}.", done)

    def _summary(self, findings: Sequence[Finding]) -> str:
        good = sum(finding.holds for finding in findings)
        seen = "; ".join(dict.fromkeys(finding.seen for finding in findings))
        return f"Refresh {self._refreshes} of this attempt: {good} of {len(findings)} checks hold: {seen}."

    # -- what is looked at --------------------------------------------------------------------------------------------

    def _size(
        self, eps_norms: Tensor, saved: Sequence[Tensor], gradient_norms: Tensor, rho: float, loss_scale: float
    ) -> Finding:
        expected = self._expected_norms(saved, gradient_norms, rho, loss_scale)
        rounding = self._tensors.norms(saved) * torch.finfo(saved[0].dtype).eps
        off = (eps_norms - expected).abs() > SIZE_TOLERANCE * expected + rounding
        total, wanted = looksam.total(eps_norms).item(), looksam.total(expected).item()
        return Finding(
            item="size", holds=not off.any().item(), seen=f"||eps|| = {total:.4g} where {wanted:.4g} is due",
            remedy=f"In {int(off.sum())} tensors eps has another size than the method's formula: in a low precision "
            "raise `method.rho`, else report it with this run's spec.",
        )  # fmt: skip

    def _expected_norms(self, saved: Sequence[Tensor], gradient_norms: Tensor, rho: float, loss_scale: float) -> Tensor:
        """||eps^l|| by the method's formula, shape (tensors,): written apart from `trainer.layerwise`, on purpose."""
        method, total = self._spec.method, looksam.total(gradient_norms)
        if total == 0:
            return torch.zeros_like(gradient_norms)
        if not isinstance(method, LayerSAM | LookLayerSAM):
            return rho * gradient_norms / total
        sizes, expected = self._tensors.norms(saved).tolist(), []
        has_size = [w.ndim > 1 and size != 0 for w, size in zip(saved, sizes, strict=True)]
        trusts = [size if has else 1.0 for has, size in zip(has_size, sizes, strict=True)]
        left_out = [method.one_dimensional == "excluded" and w.ndim <= 1 for w in saved]
        dual = sum((t * g.item()) ** 2 for t, g, out in zip(trusts, gradient_norms, left_out, strict=True) if not out)
        for is_scaled, trust, g, out in zip(has_size, trusts, gradient_norms.tolist(), left_out, strict=True):
            if out or g == 0:
                expected.append(0.0)
            elif method.layerwise == "trust":
                expected.append(rho * trust)
            elif method.layerwise == "unit":
                expected.append(rho)
            elif method.layerwise == "asam_dual":
                expected.append(rho * trust**2 * g / dual**0.5)
            else:
                expected.append(rho * (trust * loss_scale if is_scaled else g) / total.item())
        return torch.tensor(expected, dtype=torch.float64, device=gradient_norms.device)

    def _survival(self, saved: Sequence[Tensor]) -> Finding:
        dtype = AUTOCAST[self._spec.precision]
        numbers = torch.zeros(3, dtype=torch.float64, device=saved[0].device)
        for weight, before in zip(self._tensors.weights, saved, strict=True):
            eps = (weight.double() - before.double()).flatten()
            left = (weight.to(dtype).double() - before.to(dtype).double()).flatten()
            numbers += torch.stack([eps @ left, eps @ eps, left @ left])
        if self._tensors.over_ranks is not None:
            numbers = self._tensors.over_ranks(numbers)
        inner, eps_squared, left_squared = numbers.tolist()
        cosine = inner / (eps_squared * left_squared) ** 0.5 if eps_squared * left_squared > 0 else 0.0
        return Finding(
            item="precision", holds=cosine >= LEAST_COSINE,
            seen=f"cos(eps, eps as {self._spec.precision} sees it) = {cosine:.2f}",
            remedy="Most of the ascent is rounded away: set `ascent_precision` to fp32, or raise `method.rho`.",
        )  # fmt: skip

    def _alike(self) -> Finding:
        size = self._world.size
        own = digest_of(self._tensors.weights)
        together = self._world.sum_(own.clone())
        others = self._world.sum_((together != own * size).long())
        return Finding(
            item="ranks", holds=others.item() == 0, seen=f"{size} ranks moved {'alike' if others == 0 else 'apart'}",
            remedy="The replicas have drifted: resume from an earlier checkpoint, and check that all machines run the "
            "same software.",
        )  # fmt: skip

    def _of_the_passes(self) -> list[Finding]:
        first, second = self._passes[False], self._passes[True]
        if not second:
            return []  # fp16: the first pass was not finite
        counted = len(first) == len(second) == self._num_micro_batches
        findings = [
            Finding(
                item="passes", holds=counted, seen=f"{len(first)} + {len(second)} passes of a worker",
                remedy=f"There should be {self._num_micro_batches} each: report it with this run's spec.",
            ),
            Finding(
                item="masks", holds=first == second,
                seen="both passes saw the same images under the same masks" if first == second else "passes differ",
                remedy="A data set or a layer draws from a stream that is not keyed: use one of timm's.",
            ),
        ]  # fmt: skip
        updates = [
            (b - a).item() / self._num_micro_batches
            for a, b in zip(self._counters, self._counting_buffers(), strict=True)
        ]
        if updates:
            worst = max(updates, key=lambda count: abs(count - 1))
            once = worst == 1
            findings.append(Finding(
                item="statistics", holds=once,
                seen=f"running statistics were updated {'once' if once else f'{worst:g} times'} a micro-batch",
                remedy="The first pass alone must update them: report it with this run's model.",
            ))  # fmt: skip
        return findings

    def _counting_buffers(self) -> list[Tensor]:
        """BatchNorm's counters of batches."""
        return [buffer for buffer in self._tensors.buffers if buffer.dtype == torch.int64 and buffer.ndim == 0]


def digest_of(tensors: Sequence[Tensor]) -> Tensor:
    """A number below 2^31 that other bits, or the same ones in another order, almost surely change; int64, 0-dim."""
    digest = torch.zeros((), dtype=torch.int64, device=tensors[0].device)
    for tensor in tensors:
        words = tensor.detach().flatten().view(torch.int32).long()
        places = torch.arange(1, words.numel() + 1, device=words.device)
        # |word * place| < 2^62 for tensors of fewer than 2^31 words, and a sum of so many remainders is below it too.
        digest = (digest * ORDER + words.mul_(places).remainder_(PRIME).sum()).remainder(PRIME)
    return digest


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
