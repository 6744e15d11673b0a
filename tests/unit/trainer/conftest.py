"""Small worlds for the trainer's tests: specs that train in a second, a listener that records, a bare objective."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.contract.spec import TrainingSpec
from trainer.listener import Outcome, Silence
from trainer.parallel import World
from trainer.passes import Evaluated, Tensors, evaluate
from trainer.step import MethodState, Step, choose_step

hypothesis.settings.register_profile("trainer", hypothesis.settings.get_profile("basin"), max_examples=50)
hypothesis.settings.load_profile("trainer")

SMALL: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
    },
    "data": {"source": "digits", "train_size": 100, "validation_fraction": 0.1},
    "optimizer": {"name": "adamw", "lr": 0.003},
    "global_batch_size": 32,
    "steps": 12,
    "logging": {"every_steps": 3},
    "checkpoint": {"keep_best": False},  # so that tests can count those that are due by the step
}


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)  # several would wait for each other on a busy machine, for tensors this small
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def small_spec() -> Callable[..., TrainingSpec]:
    """A spec of a 4-token ViT on 100 digits; sections given as dictionaries are merged into the defaults."""

    def make(**changes: Any) -> TrainingSpec:
        document = copy.deepcopy(SMALL)
        if "epochs" in changes:
            del document["steps"]
        for name, value in changes.items():
            merge = isinstance(value, dict) and name in ("data", "logging", "checkpoint", "evaluation")
            merge = merge and "source" not in value  # another source has other fields
            document[name] = {**document.get(name, {}), **value} if merge else value
        return TrainingSpec.model_validate(document)

    return make


@pytest.fixture
def opened():
    """Loads a spec's images on the CPU, and closes them in the end."""
    from trainer import data

    made = []

    def load(spec: TrainingSpec, **options: Any):
        made.append(data.load(spec, torch.device("cpu"), **options))
        return made[-1]

    yield load
    for each in made:
        each.close()


class Recorder(Silence):
    """Keeps what the loop tells."""

    def __init__(self) -> None:
        self.points: dict[int, dict[str, float]] = {}
        self.told: list[tuple[str, ...]] = []
        self.notices: list[tuple[str, str, int]] = []
        self.doctor: list[tuple[str, str, int]] = []
        """What the SAM doctor said; everybody else's is in `notices`."""
        self.saved: list[int] = []
        self.steps: list[int] = []

    def metrics(self, step: int, values: dict[str, float]) -> None:
        assert step not in self.points, "one call a step"
        self.points[step] = values
        self.told.append(("metrics", str(step)))

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        self.steps.append(step)

    def first_step(self) -> None:
        self.told.append(("first_step",))

    def before_checkpoint(self, step: int, folder: Path) -> None:
        (folder / "unsent.jsonl").write_text(f"{step}\n")

    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None:
        assert path.is_dir()
        self.saved.append(step)
        self.told.append(("checkpoint", str(step)))

    def notice(self, code: str, text: str, step: int) -> None:
        (self.doctor if code.startswith("sam_doctor") else self.notices).append((code, text, step))


@pytest.fixture
def recorder() -> Callable[[], Recorder]:
    return Recorder


class Run:
    """What one call of `train` left behind."""

    def __init__(self, outcome: Outcome, recorder: Recorder, folder: Path) -> None:
        self.outcome, self.recorder, self.folder = outcome, recorder, folder

    def saved(self, step: int | None = None):
        from trainer import checkpoint

        return checkpoint.read(checkpoint.folder_of(self.folder, self.outcome.step if step is None else step))

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.saved().model

    @property
    def deterministic_points(self) -> dict[int, dict[str, float]]:
        from trainer.contract.metrics import DETERMINISTIC

        named = {
            step: {name: value for name, value in values.items() if name in DETERMINISTIC}
            for step, values in self.recorder.points.items()
        }
        return {step: values for step, values in named.items() if values}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Trains a spec in this process and says what came of it."""
    from trainer.loop import train

    runs = 0

    def go(spec: TrainingSpec, *, folder: Path | None = None, **options: Any) -> Run:
        nonlocal runs
        runs += 1
        folder = folder or tmp_path / f"run-{runs}"
        listener = Recorder()
        outcome = train(spec, World.single(), folder=folder, listener=listener, **options)
        return Run(outcome, listener, folder)

    return go


class Objective:
    """A differentiable function of a list of tensors, as the passes of a step; several are micro-batches' losses."""

    num_ranks = 1

    def __init__(self, weights: Sequence[Tensor], *losses: Callable[[Sequence[Tensor]], Tensor]) -> None:
        self.weights = [weight.detach().clone().requires_grad_() for weight in weights]
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]
        self.tensors = Tensors(weights=self.weights, gradients=self.gradients, buffers=[])
        self.state = MethodState.fresh(torch.device("cpu"))
        self.losses = losses
        self.evaluations = 0
        self.after_pass: Callable[[], None] = lambda: None
        """For what shall go wrong in the middle of a step."""
        self.numbers = torch.zeros(2, dtype=torch.float64)

    @property
    def num_micro_batches(self) -> int:
        return len(self.losses)

    def begin(self, *, refresh: bool) -> None:
        pass

    def zero(self, *, keep_numbers: bool = False) -> None:
        for gradient in self.gradients:
            gradient.zero_()
        if not keep_numbers:
            self.numbers.zero_()

    def forward_backward(self, micro_batch: int, *, perturbed: bool = False) -> None:
        self.evaluations += 1
        loss = self.losses[micro_batch](self.weights) / len(self.losses)
        found = torch.autograd.grad(loss * self.tensors.loss_scale.factor, self.weights, allow_unused=True)
        for gradient, value in zip(self.gradients, found, strict=True):
            if value is not None:
                gradient += value
        self.numbers[int(perturbed)] += loss.detach()
        self.after_pass()

    def sum_over_ranks(self) -> Evaluated:
        zero = torch.zeros((), dtype=torch.float64)
        loss, perturbed_loss = self.numbers.clone()
        return Evaluated(loss=loss, perturbed_loss=perturbed_loss, correct=zero, stop=zero)

    def evaluate(self) -> Evaluated:
        return evaluate(self)

    def step_of(self, method: Any) -> Step:
        return choose_step(method, self.tensors, self.state)

    def descend(self, lr: float) -> None:
        """Plain gradient descent along d."""
        with torch.no_grad():
            for weight, d in zip(self.weights, self.gradients, strict=True):
                weight -= lr * d

    def gradient_vector(self) -> Tensor:
        return flat(self.gradients).clone()

    def weight_vector(self) -> Tensor:
        return flat(self.weights).detach().clone()


class NoReading(TorchDispatchMode):
    """Raises where a tensor's value is brought to the host, which on a GPU waits for the device."""

    def __init__(self, allowed: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self._allowed = {id(tensor) for tensor in allowed}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default):
            assert id(args[0]) in self._allowed, "the host waits for the device here"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def no_reading() -> type[NoReading]:
    return NoReading


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@pytest.fixture
def objective() -> type[Objective]:
    return Objective


@pytest.fixture
def quadratic() -> Callable[..., Objective]:
    """L = w'Hw/2 - b'w over w cut into tensors of the given sizes."""

    def make(hessian: Tensor, b: Tensor, w: Tensor, sizes: Sequence[int] | None = None) -> Objective:
        def loss(weights: Sequence[Tensor]) -> Tensor:
            v = flat(weights)
            return v @ (hessian @ v) / 2 - b @ v

        return Objective(list(w.split(list(sizes or [len(w)]))), loss)

    return make


@pytest.fixture
def random_quadratic(quadratic: Callable[..., Objective]) -> Callable[..., tuple[Objective, Tensor]]:
    """A positive definite one in six dimensions, and its Hessian."""

    def make(sizes: Sequence[int] = (1, 2, 3), dtype: torch.dtype = torch.float64, b_scale: float = 1.0):
        generator = torch.Generator().manual_seed(7)
        a = torch.randn(6, 6, dtype=torch.float64, generator=generator)
        b, w = (torch.randn(6, dtype=torch.float64, generator=generator) for _ in range(2))
        hessian = a @ a.T + 0.1 * torch.eye(6, dtype=torch.float64)
        problem = quadratic(hessian.to(dtype), (b_scale * b).to(dtype), w.to(dtype), sizes)
        return problem, hessian

    return make
