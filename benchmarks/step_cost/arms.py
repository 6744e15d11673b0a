"""One training step of each arm, on a problem of its own. All end in the same fused AdamW of torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.step_cost.problem import LR, WEIGHT_DECAY, Problem
from trainer.cadence import Cadence
from trainer.contract.methods import SAM, LookSAM, NoMethod
from trainer.contract.optimizers import AdamW
from trainer.contract.spec import Model, TrainingSpec
from trainer.doctor import Doctor
from trainer.listener import Silence
from trainer.optimizer import GuardedOptimizer
from trainer.parallel import ReducedGradients, World
from trainer.passes import Evaluated, Tensors
from trainer.resume import Standing
from trainer.step import MethodState, choose_step

Step = Callable[[], None]
RHO, ALPHA = 0.05, 0.5
"""The cost does not depend on them."""


class _OneBatch:
    """The passes of a step (`trainer.passes.Passes`): one micro-batch on one rank, as the trainer's own do it."""

    num_micro_batches = num_ranks = 1

    def __init__(self, problem: Problem, reduced: ReducedGradients) -> None:
        self._problem, self._reduced = problem, reduced
        self.on_pass: Callable[[int, bool, Tensor], None] | None = None

    def begin(self, *, refresh: bool) -> None:
        pass

    def zero(self, *, keep_numbers: bool = False) -> None:
        self._reduced.zero_(keep_scalars=keep_numbers)

    def forward_backward(self, micro_batch: int, *, perturbed: bool = False) -> None:
        if self.on_pass is not None:
            self.on_pass(micro_batch, perturbed, self._problem.images)
        loss = self._problem.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self._reduced.scalars[int(perturbed)] += loss.detach()

    def sum_over_ranks(self) -> Evaluated:
        loss, perturbed_loss = self._reduced.sum_over_ranks().double().unbind()
        zero = torch.zeros_like(loss)
        return Evaluated(loss=loss, perturbed_loss=perturbed_loss, correct=zero, stop=zero)


def basin(problem: Problem, method: NoMethod | SAM | LookSAM, *, looked_at: bool = False) -> Step:
    """`looked_at`: the SAM doctor looks at every step, which has to be a refresh."""
    device = problem.images.device
    world = World.single(device)
    reduced = ReducedGradients(problem.weights, world, num_scalars=2)
    tensors = Tensors(weights=problem.weights, gradients=reduced.tensors, buffers=[])
    adamw = AdamW(name="adamw", lr=LR, weight_decay=WEIGHT_DECAY)
    optimizer = GuardedOptimizer(adamw, problem.weights)
    passes, standing = _OneBatch(problem, reduced), Standing()
    spec = TrainingSpec(
        model=Model(name="vit_tiny_patch16_224"), optimizer=adamw, method=method, steps=1,
        global_batch_size=len(problem.images),
    )  # fmt: skip
    cadence = Cadence(spec, len(problem.images))  # by default one refresh in ten steps shows its signals
    step = choose_step(method, tensors, MethodState.fresh(device), shows=lambda step: cadence.shows_signals(step + 1))

    def take() -> None:
        optimizer.step(step(standing.step, passes).finite)
        standing.step += 1

    def take_and_look() -> None:
        doctor = Doctor(spec, world, tensors, 1)  # a fresh one, since the first refreshes are always looked at
        tensors.watch, passes.on_pass = doctor, doctor.passed
        take()
        doctor.tell(standing, Silence())

    return take_and_look if looked_at else take


def plain(problem: Problem) -> Step:
    """The shortest loop that trains: what a step costs without Basin."""
    optimizer = torch.optim.AdamW(problem.weights, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)

    def take() -> None:
        optimizer.zero_grad()
        problem.loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return take


def peer(problem: Problem, k: int, *, documented: bool, packages: Path) -> Step:
    """pytorch_optimizer's LookSAM: its documented `step(closure)`, or its two steps by hand.

    By hand means what a careful user would write: the second pass only where `first_step` has moved the weights.
    """
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    from pytorch_optimizer import LookSAM as PeerLookSAM  # type: ignore[import-not-found, unused-ignore]

    optimizer: Any = PeerLookSAM(
        problem.weights, torch.optim.AdamW, rho=RHO, k=k, alpha=ALPHA, lr=LR, weight_decay=WEIGHT_DECAY, fused=True
    )

    def gradient() -> Tensor:
        optimizer.zero_grad()
        loss = problem.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def as_documented() -> None:
        gradient()
        optimizer.step(gradient)

    done = 0

    def by_hand() -> None:
        nonlocal done
        gradient()
        if done % k == 0:
            optimizer.first_step()
            gradient()
        optimizer.second_step()
        done += 1

    return as_documented if documented else by_hand
