"""One rank of several, as a process: `python ranks.py RANK SIZE FOLDER` runs what FOLDER/work.json lists, in order.

A program of its own, not a function sent to a child, so that it needs nothing of the tests' import paths.

What an item may ask for besides its `spec` and what to `resume`:

    stop_at       the step, from 0, before which rank 0 wishes to stop
    poison        the image whose pixels are NaN
    spoil         {"rank", "passes"}: after which of its passes, counted from 1, a rank finds inf in its gradient
    skew          rank 1's ascent is longer by this share
    spares        a layer that is not reached and a frozen tensor
    loss_scale    what fp16 starts with
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timm
import torch
import torch.distributed as dist
from torch import nn

from trainer import data, looksam, loop, loss_scale
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import VisionData
from trainer.datasets.in_memory import ImagesInMemory
from trainer.errors import TrainerError
from trainer.gradient import BatchGradient
from trainer.listener import Silence
from trainer.optimizer import GuardedOptimizer
from trainer.parallel import World, join, leave
from trainer.passes import Passes, Tensors
from trainer.step import Descent, MethodState, Step


class Points(Silence):
    def __init__(self) -> None:
        self.of: dict[int, dict[str, float]] = {}
        self.notices: list[tuple[str, str]] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.of[step] = values

    def notice(self, code: str, text: str, step: int) -> None:
        self.notices.append((code, text))


class Seen:
    """What a run did on this rank, beside what it tells: looked at from outside, at every step."""

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.all_reduced: list[int] = []
        """Elements of each sum over the ranks."""
        self.after_each_step: list[str] = []
        """Fingerprints of the weights, one for each step of the base optimizer."""
        self.attempts: list[dict[str, Any]] = []
        """One for each time a step was taken, also where it was skipped for a number that is not finite."""

    def watch(self, changes: ExitStack) -> None:
        """Until `changes` are undone."""
        build, move = GuardedOptimizer.__init__, GuardedOptimizer.step
        reduce, choose = dist.all_reduce, loop.choose_step

        def remember(optimizer: GuardedOptimizer, spec: Any, parameters: Any, *model: Any) -> None:
            self.weights.extend(parameters)
            build(optimizer, spec, parameters, *model)

        def moved(optimizer: GuardedOptimizer, finite: torch.Tensor) -> None:
            move(optimizer, finite)
            self.after_each_step.append(fingerprint(self.weights))

        def counted(tensor: torch.Tensor, **options: Any) -> Any:
            self.all_reduced.append(tensor.numel())
            return reduce(tensor, **options)

        def chosen(method: Any, tensors: Tensors, state: MethodState, **options: Any) -> Step:
            return self._traced(choose(method, tensors, state, **options), tensors, state)

        changes.enter_context(patch.object(GuardedOptimizer, "__init__", remember))
        changes.enter_context(patch.object(GuardedOptimizer, "step", moved))
        changes.enter_context(patch.object(dist, "all_reduce", counted))
        changes.enter_context(patch.object(loop, "choose_step", chosen))

    def _traced(self, take_step: Step, tensors: Tensors, state: MethodState) -> Step:
        def step(number: int, passes: Passes) -> Descent:
            before, evaluations = self._standing(tensors, state), state.gradient_evaluations
            descent = take_step(number, passes)
            self.attempts.append({
                "step": number, "is_finite": bool(descent.finite), "before": before,
                "after": self._standing(tensors, state), "evaluations": state.gradient_evaluations - evaluations,
                "loss_scale": tensors.loss_scale.factor,
            })  # fmt: skip
            return descent

        return step

    def _standing(self, tensors: Tensors, state: MethodState) -> dict[str, Any]:
        return {
            "weights": fingerprint(tensors.weights),
            "direction": None if state.direction is None else fingerprint(state.direction),
            "numbers": fingerprint([state.alpha, state.persistence, state.weak_refreshes, state.direction_exists]),
        }


def perform(item: dict[str, Any], world: World, folder: Path) -> dict[str, Any]:
    spec = TrainingSpec.model_validate(item["spec"])
    listener, seen = Points(), Seen()
    asked = count()
    stop: Callable[[], bool] | None = (lambda: next(asked) == item["stop_at"]) if "stop_at" in item else None
    if world.rank and stop:
        stop = lambda: True  # noqa: E731 - only rank 0's wish counts
    answer: dict[str, Any] = {}
    with ExitStack() as changes:
        seen.watch(changes)
        make(item, world, changes)
        try:
            outcome = loop.train(
                spec,
                world,
                folder=folder,
                listener=listener,
                stop=stop,
                resume=[Path(path) for path in item.get("resume", [])],
            )
            answer |= {"reason": outcome.reason.value, "step": outcome.step}
            answer["evaluations"] = outcome.gradient_evaluations
        except TrainerError as error:
            answer |= {"reason": error.reason.value, "detail": error.detail}
    torch.save([weight.detach() for weight in seen.weights], folder / f"weights-{world.rank}.pt")
    return answer | {
        "points": listener.of, "notices": listener.notices, "all_reduced": seen.all_reduced,
        "after_each_step": seen.after_each_step, "attempts": seen.attempts,
    }  # fmt: skip


def make(item: dict[str, Any], world: World, changes: ExitStack) -> None:
    """What goes wrong, or is otherwise than usual, until `changes` are undone."""
    load, create, climb, forward_backward = data.load, timm.create_model, looksam.ascent, BatchGradient.forward_backward
    if "poison" in item:
        poison = lambda *arguments, **options: poisoned(load(*arguments, **options), item["poison"])  # noqa: E731
        changes.enter_context(patch.object(data, "load", poison))
    if item.get("spares"):
        spared = lambda *arguments, **options: with_spares(create(*arguments, **options))  # noqa: E731
        changes.enter_context(patch.object(timm, "create_model", spared))
    if "loss_scale" in item:
        changes.enter_context(patch.object(loss_scale, "START", item["loss_scale"]))
    if "skew" in item and world.rank == 1:
        skewed = lambda *a, **o: [scale * (1 + item["skew"]) for scale in climb(*a, **o)]  # noqa: E731
        changes.enter_context(patch.object(looksam, "ascent", skewed))
    if "spoil" in item and world.rank == item["spoil"]["rank"]:
        passes = count(1)

        def spoilt(self: BatchGradient, micro_batch: int, *, perturbed: bool = False) -> None:
            forward_backward(self, micro_batch, perturbed=perturbed)
            if next(passes) in item["spoil"]["passes"]:
                self.reduced.tensors[0].fill_(torch.inf)

        changes.enter_context(patch.object(BatchGradient, "forward_backward", spoilt))


def fingerprint(tensors: Sequence[torch.Tensor]) -> str:
    """Of all their bits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def with_spares(model: nn.Module) -> nn.Module:
    """A layer that the forward pass does not reach, and a frozen tensor."""
    model.unused = nn.Linear(3, 3)
    model.pos_embed.requires_grad_(False)  # type: ignore[operator, union-attr]
    return model


def poisoned(loaded: VisionData, index: int) -> VisionData:
    assert isinstance(loaded.train, ImagesInMemory)
    loaded.train.pixels[index] = torch.nan
    return loaded


def main(rank: int, size: int, folder: Path) -> None:
    world = join(rank=rank, size=size, device=torch.device("cpu"), store=dist.FileStore(str(folder / "store"), size))
    answers = []
    for number, item in enumerate(json.loads((folder / "work.json").read_text())):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        answers.append(perform(item, world, place))
    (folder / f"answers-{rank}.json").write_text(json.dumps(answers))
    leave(world)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
