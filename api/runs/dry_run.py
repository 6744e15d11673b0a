"""What a submission would do, checked like a real one; nothing is stored and nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from api.runs.access import Caller, must_submit
from api.runs.bodies import Submission
from api.runs.length import gradient_evaluations, total_steps
from api.runs.queue import place_for
from api.runs.quotas import NO_QUOTAS, Quotas
from api.runs.schemas import DryRun
from api.runs.submit import must_be_possible, must_be_storable, name_stem
from trainer.contract.spec import TrainingSpec


def dry_run(
    session: Session,
    caller: Caller,
    submission: Submission,
    *,
    request: dict[str, Any],
    data_roots: Sequence[Path] = (),
    storage: Path | None = None,
    quotas: Quotas = NO_QUOTAS,
) -> DryRun:
    """Raises NotAllowed and Invalid where `submit` would."""
    must_submit(caller)
    must_be_storable(request)
    must_be_possible(session, caller, submission, data_roots, storage, quotas)
    spec = submission.spec
    steps = total_steps(spec)
    evaluations = gradient_evaluations(spec, steps) if steps is not None else None
    position = place_for(session, submission.priority)
    return DryRun(
        name=submission.name or name_stem(submission),
        spec=spec.model_dump(mode="json"),
        total_steps=steps,
        gradient_evaluations=evaluations,
        position=position,
        summary=_sentence(spec, steps, evaluations, position),
    )


def _sentence(spec: TrainingSpec, steps: int | None, evaluations: int | None, position: int) -> str:
    method = spec.optimizer.name if spec.method.name == "none" else f"{spec.method.name} over {spec.optimizer.name}"
    length = f"{spec.epochs:g} epochs" if steps is None else _count(steps, "step")
    passes = f" with {_count(evaluations, 'gradient evaluation')}" if evaluations is not None else ""
    slots = "GPU" if spec.resources.gpus_per_worker else "CPU slot"
    return (
        f"{spec.model.name} with {method}: {length} of {_count(spec.global_batch_size, 'image')}{passes},"
        f" {_count(spec.resources.workers, 'worker')} on {_count(spec.resources.workers, slots)},"
        f" place {position} in the queue."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
