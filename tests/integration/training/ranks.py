"""One rank of two, as a process: `python ranks.py RANK FOLDER` runs what FOLDER/work.json lists, in order.

A program of its own, not a function sent to a child, so that it needs nothing of the tests' import paths.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import timm
import torch
import torch.distributed as dist
from torch import nn

from trainer import data, loss_scale
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import VisionData
from trainer.datasets.in_memory import ImagesInMemory
from trainer.errors import TrainerError
from trainer.listener import Silence
from trainer.loop import train
from trainer.optimizer import GuardedOptimizer
from trainer.parallel import World, join, leave


class Points(Silence):
    def __init__(self) -> None:
        self.of: dict[int, dict[str, float]] = {}
        self.notices: list[tuple[str, str]] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self.of[step] = values

    def notice(self, code: str, text: str, step: int) -> None:
        self.notices.append((code, text))


def perform(item: dict[str, Any], world: World, folder: Path) -> dict[str, Any]:
    spec = TrainingSpec.model_validate(item["spec"])
    listener = Points()
    weights: list[torch.Tensor] = []
    build = GuardedOptimizer.__init__

    def remember(self: GuardedOptimizer, spec: Any, parameters: Any, *model: Any) -> None:
        weights.extend(parameters)
        build(self, spec, parameters, *model)

    GuardedOptimizer.__init__ = remember  # type: ignore[method-assign]
    load = data.load
    if "poison" in item:  # one training image that makes the loss NaN, wherever it turns up
        data.load = lambda *arguments, **options: poisoned(load(*arguments, **options), item["poison"])
    create, start = timm.create_model, loss_scale.START
    if item.get("spares"):
        timm.create_model = lambda *arguments, **options: with_spares(create(*arguments, **options))
    loss_scale.START = item.get("loss_scale", start)
    asked = iter(range(10**6))
    stop = (lambda: next(asked) == item["stop_at"]) if "stop_at" in item else None
    if world.rank and stop:
        stop = lambda: True  # noqa: E731 - only rank 0's wish counts
    answer: dict[str, Any] = {}
    sent: list[int] = []
    reduce = dist.all_reduce

    def counted(tensor: torch.Tensor, **options: Any) -> Any:
        sent.append(tensor.numel())
        return reduce(tensor, **options)

    dist.all_reduce = counted
    try:
        outcome = train(
            spec,
            world,
            folder=folder,
            listener=listener,
            stop=stop,
            resume=[Path(path) for path in item.get("resume", [])],
        )
        answer |= {"reason": outcome.reason.value, "step": outcome.step, "evaluations": outcome.gradient_evaluations}
    except TrainerError as error:
        answer |= {"reason": error.reason.value, "detail": error.detail}
    finally:
        data.load, GuardedOptimizer.__init__ = load, build  # type: ignore[method-assign]
        timm.create_model, loss_scale.START = create, start
        dist.all_reduce = reduce
    torch.save([weight.detach() for weight in weights], folder / f"weights-{world.rank}.pt")
    return answer | {"points": listener.of, "all_reduced": sent, "notices": listener.notices}


def with_spares(model: nn.Module) -> nn.Module:
    """A layer that the forward pass does not reach, and a frozen tensor."""
    model.unused = nn.Linear(3, 3)
    model.pos_embed.requires_grad_(False)  # type: ignore[operator, union-attr]
    return model


def poisoned(loaded: VisionData, index: int) -> VisionData:
    assert isinstance(loaded.train, ImagesInMemory)
    loaded.train.pixels[index] = torch.nan
    return loaded


def main(rank: int, folder: Path) -> None:
    world = join(rank=rank, size=2, device=torch.device("cpu"), store=dist.FileStore(str(folder / "store"), 2))
    answers = []
    for number, item in enumerate(json.loads((folder / "work.json").read_text())):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        answers.append(perform(item, world, place))
    (folder / f"answers-{rank}.json").write_text(json.dumps(answers))
    leave(world)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
