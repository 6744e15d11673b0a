"""The training loop, from top to bottom: resume point, data, model, optimizer and method, then step after step.

`train` runs in every worker of a run: on Ray actors, under torchrun, or alone in one process. It knows neither the API
nor a terminal; what it has to say goes to a `Listener`, and rank 0's alone is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from trainer import checkpoint, curvature, data, looksam, model, randomness, resume, sharding, sharpness
from trainer import initial as initial_weights
from trainer.allocator import keep_freed_memory
from trainer.cadence import Cadence
from trainer.contract.ends import EndReason
from trainer.contract.methods import LookLayerSAM, Method, NoMethod
from trainer.contract.spec import TrainingSpec
from trainer.datasets.order import plan_batches
from trainer.doctor import Doctor
from trainer.errors import TrainerError, exhaustion_named
from trainer.evaluate import validate
from trainer.gpu_readings import GpuReadings
from trainer.gradient import NUM_SCALARS, BatchGradient
from trainer.layer_groups import layer_groups, masks_of
from trainer.listener import Listener, Outcome, Silence
from trainer.loss_scale import LossScale
from trainer.memory import PeakMemory
from trainer.optimizer import GuardedOptimizer, learning_rate
from trainer.parallel import LateFlags, World
from trainer.passes import Passes, Tensors, put_back
from trainer.preparation import Preparation
from trainer.step import Descent, MethodState, Step, choose_step

NO_PERSISTENCE = "direction_does_not_persist"
NO_PERSISTENCE_REFRESHES = 20
NO_PERSISTENCE_TEXT = "The reused direction does not persist at this batch size: {without_reuse} every k does the same."


def train(
    spec: TrainingSpec, world: World, *, folder: Path, listener: Listener, resume: Sequence[Path] = (),
    stop: Callable[[], bool] | None = None, data_roots: Sequence[str] | None = None,
    initial: Sequence[Path] = (), weight_roots: Sequence[str] | None = None,
) -> Outcome:  # fmt: skip
    """Trains `spec` to its end, or until `stop` (asked on rank 0 before every step) says so; then saves and returns.

    Checkpoints go to `folder`/checkpoints; rank 0 writes, all ranks must see the folder to resume. `resume` lists
    checkpoints, newest first, of which the first complete one is used. Image folders must lie in `data_roots`, or
    anywhere if None; so must the paths of `model.init_from` in `weight_roots`. `initial` lists checkpoints of the run
    that it names, newest first. Raises TrainerError on every rank, except for what befalls one rank alone (memory,
    disk, an image that it cannot read): then the others fail in their next collective.
    """
    with exhaustion_named(), ExitStack() as ending:
        return _train(
            spec, world, folder, listener if world.is_first else Silence(), resume, stop, data_roots,
            partial(initial_weights.load_, of_run=initial, roots=weight_roots), ending,
        )  # fmt: skip


def _train(
    spec: TrainingSpec, world: World, folder: Path, tell: Listener, candidates: Sequence[Path],
    stop: Callable[[], bool] | None, data_roots: Sequence[str] | None, load_initial_: Callable[..., None],
    ending: ExitStack,
) -> Outcome:  # fmt: skip
    # Resume point
    saved = resume.newest(candidates, spec, world, tell)
    threads = resume.threads_to_use(saved, world, randomness.settled_threads(world.size, world.device))
    randomness.make_deterministic(world.device, threads, tf32=spec.execution.tf32)
    if world.device.type == "cpu":
        keep_freed_memory()
    if world.is_first:
        checkpoint.sweep(folder)

    # Data
    images = data.load(spec, world.device, roots=data_roots, getting_on=world.passed)
    ending.callback(images.close)
    data.check_alike(images, world)
    prepared = Preparation.of(spec, images)
    plan = plan_batches(spec, world.size)
    cadence = Cadence(spec, len(images.train))
    total = cadence.total_steps

    # Model
    network = model.build(spec, images, world)
    if saved is None:
        load_initial_(network, spec, images, world, tell)
    if sharding.is_on(spec, world):
        model.shard_(network, spec, images, world)
    averaged = None if spec.ema_decay is None else ModelEmaV3(network, decay=spec.ema_decay, use_warmup=True)
    weights, readings = sharding.weights_of(network, world), GpuReadings(world)
    reduced = weights.gradients(NUM_SCALARS + readings.num_scalars)
    scale = LossScale.of(spec.precision)
    gradient = BatchGradient(network, images.train, spec, plan, world, reduced, scale, images.num_classes, readings)

    # Base optimizer and method
    optimizer = GuardedOptimizer(spec.optimizer, weights.here, network, weights.parameters)
    state = MethodState.fresh(world.device)
    standing = resume.Standing() if saved is None else resume.put_back(
        saved, network, averaged, optimizer, state, scale, weights
    )  # fmt: skip
    tensors = Tensors(
        weights=weights.here, gradients=reduced.tensors, buffers=list(network.buffers()), loss_scale=scale,
        over_ranks=weights.over_ranks,
        clock=gradient.clock, layer_groups=masks_of(layer_groups(network), world.device),
    )  # fmt: skip
    doctor = Doctor(spec, world, tensors, plan.num_micro_batches)
    tensors.watch, gradient.on_pass = doctor, doctor.passed
    take_step = choose_step(
        spec.method, tensors, state, rho=partial(_rho, spec, total), shows=lambda step: cadence.shows_signals(step + 1)
    )  # fmt: skip
    flags = LateFlags(world.device)
    gradient.cpu_time.total.fill_(standing.cpu_seconds)

    # Step after step
    first_step = standing.step
    tell.progress(first_step, total, cadence.epoch(first_step))
    speed, memory = _Speed(first_step, standing.seconds, spec.global_batch_size), PeakMemory(world.device)
    for step in range(first_step, total):
        lr = learning_rate(spec.schedule, spec.optimizer.lr, step, total)
        optimizer.set_learning_rate(lr)
        stop_wanted = world.is_first and stop is not None and stop()
        with gradient.cpu_time, gradient.clock:
            passes = gradient.at(step, stop_wanted=stop_wanted, reads=cadence.logs(step + 1))
            descent = _finite_where_that_decides(take_step, step, passes, tensors)
            if scale.moves:
                reduced.multiply_(1 / scale.factor)  # once, on d: what led to it does not depend on the scale
            if spec.clip_norm is not None:
                looksam.clip(reduced.tensors, spec.clip_norm, looksam.norm(reduced.tensors, weights.over_ranks))
            optimizer.step(descent.finite)
            scale.applied()
            if averaged is not None:
                averaged.update(network, step=step + 1)

        done = standing.step = step + 1
        flags.push(done, torch.stack([optimizer.bad, descent.evaluated.stop.float()]))
        logs, validates, saves = cadence.logs(done), cadence.validates(done), cadence.saves(done)
        shows_signals = bool(descent.signals) and cadence.shows_signals(done)
        stopping = _stop_is_due(flags, everything=logs or validates or saves or shows_signals)
        if stopping:  # what is saved must not hold the numbers of a step that nobody has looked at
            _stop_is_due(flags, everything=True)
        if step == first_step:
            _wait_for(world.device)
            tell.first_step()

        doctor.tell(standing, tell)
        numbers: dict[str, float] = {}
        if logs:
            numbers |= _training_numbers(descent, spec.global_batch_size)
            numbers |= {
                "learning_rate": lr,
                "epoch": cadence.epoch(done),
                "gradient_evaluations": float(state.gradient_evaluations),
            }
        if shows_signals:
            numbers |= _fetched(descent.signals)
            _tell_once_if_nothing_persists(spec.method, state, standing, tell)
        if validates:
            numbers |= validate(network, images.validation, spec, world)
            if averaged is not None:
                numbers |= validate(averaged.module, images.validation, spec, world, name="ema_validation")
            before, standing.best = standing.best, checkpoint.Best.of(done, numbers, standing.best)
            saves = saves or (spec.checkpoint.keep_best and standing.best is not before)
        if done == total and images.test is not None:
            numbers |= validate(network, images.test, spec, world, name="test")
        if done == total and spec.evaluation.sharpness_radius is not None:
            numbers |= sharpness.measure(network, weights.here, reduced, images.train, spec, world, weights.over_ranks)
        if done == total and spec.evaluation.curvature_images is not None:
            numbers |= curvature.measure(network, weights.here, images.train, spec, world)
        if logs:
            numbers |= gradient.clock.since_last() | memory.since_last() | readings.told() | speed.since_last(done)
            numbers["cpu_seconds"] = gradient.cpu_time.total.item()
        if numbers:
            standing.numbers |= numbers
            tell.metrics(done, numbers)
        tell.progress(done, total, cadence.epoch(done))

        standing.seconds = speed.seconds
        if (saves or stopping) and (world.is_first or weights.is_shared):
            standing.cpu_seconds = gradient.cpu_time.total.item()
            captured = resume.capture(standing, spec, network, averaged, optimizer, state, scale, weights, prepared)
        if (saves or stopping) and world.is_first:
            path, size_bytes = checkpoint.save(captured, folder, before_rename=tell.before_checkpoint)
            tell.checkpoint(done, path, size_bytes)
            best_step = standing.best.step if standing.best is not None and spec.checkpoint.keep_best else None
            checkpoint.keep_newest(folder, current_step=done, keep=spec.checkpoint.keep, best_step=best_step)
        if stopping and done < total:
            return _outcome(EndReason.cancelled_by_user, standing, state, f"Stopped after step {done} of {total}.")
    doctor.tell_end(standing, total, tell)
    return _outcome(EndReason.completed, standing, state, "")


def _stop_is_due(flags: LateFlags, *, everything: bool) -> bool:
    """Whether a stop was asked for. Raises TrainerError at the first step that was not finite."""
    is_due = False
    for at, (bad, wish) in flags.read(everything=everything):
        if bad:
            raise TrainerError(EndReason.loss_not_finite, _not_finite(at))
        is_due = is_due or wish > 0
    return is_due


def _finite_where_that_decides(take_step: Step, step: int, passes: Passes, tensors: Tensors) -> Descent:
    """One step; in fp16 again with half the loss scale until it is finite, for which the host waits each time.

    Elsewhere the host does not wait: a step that is not finite moves nothing, and ends the run when it is noticed.
    """
    scale = tensors.loss_scale
    if not scale.moves:
        return take_step(step, passes)
    before = [buffer.clone() for buffer in tensors.buffers]
    while True:
        descent = take_step(step, passes)
        if descent.finite:
            return descent
        put_back(tensors.buffers, before)  # running statistics are updated once a step, not once a try
        if not scale.skipped():
            raise TrainerError(EndReason.loss_not_finite, _not_finite(step + 1))


def _rho(spec: TrainingSpec, total_steps: int, step: int) -> float:
    """The radius of a step."""
    if isinstance(spec.method, NoMethod):
        return 0.0
    follows = spec.method.rho_schedule == "learning_rate"
    return spec.method.rho * (learning_rate(spec.schedule, 1.0, step, total_steps) if follows else 1.0)


def _outcome(reason: EndReason, standing: resume.Standing, state: MethodState, detail: str) -> Outcome:
    return Outcome(
        reason=reason, step=standing.step, detail=detail, numbers=dict(standing.numbers),
        gradient_evaluations=state.gradient_evaluations,
    )  # fmt: skip


def _training_numbers(descent: Descent, global_batch_size: int) -> dict[str, float]:
    return _fetched({
        "train_loss": descent.evaluated.loss,
        "train_top1": descent.evaluated.correct * (100.0 / global_batch_size),
        "grad_norm": descent.gradient_norm,
    })  # fmt: skip


def _fetched(values: dict[str, Tensor]) -> dict[str, float]:
    """Brings device scalars to the host in one transfer, which waits for the device. NaN says "there is none"."""
    fetched = torch.stack(list(values.values())).tolist()
    return {name: value for name, value in zip(values, fetched, strict=True) if value == value}


def _tell_once_if_nothing_persists(
    method: Method, state: MethodState, standing: resume.Standing, tell: Listener
) -> None:
    if NO_PERSISTENCE not in standing.told and state.weak_refreshes.item() >= NO_PERSISTENCE_REFRESHES:
        standing.told.append(NO_PERSISTENCE)
        without_reuse = "LayerSAM" if isinstance(method, LookLayerSAM) else "SAM"
        tell.notice(NO_PERSISTENCE, NO_PERSISTENCE_TEXT.format(without_reuse=without_reuse), standing.step)


def _not_finite(step: int) -> str:
    return (
        f"The loss or the gradient of step {step} was not finite; the weights are those before it. Lower "
        "`optimizer.lr`, `method.rho` or `method.alpha`, or raise `schedule.warmup_steps`."
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # once a process: the end of its first step is measured


class _Speed:
    """Wall-clock numbers; none of them is deterministic."""

    def __init__(self, step: int, seconds_before: float, global_batch_size: int) -> None:
        self._global_batch_size = global_batch_size
        self._started = time.monotonic() - seconds_before
        self._last = step, seconds_before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def since_last(self, step: int) -> dict[str, float]:
        steps, elapsed = step - self._last[0], self.seconds - self._last[1]
        self._last = step, self.seconds
        return {
            "images_per_second": steps * self._global_batch_size / elapsed,
            "step_seconds": elapsed / steps,
            "seconds": self.seconds,
        }
