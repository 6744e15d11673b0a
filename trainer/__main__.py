"""`python -m trainer --spec FILE`: trains in this process (or under torchrun), with neither Ray nor the API.

Exit codes: 0 trained to the end; 1 ended with an error; 2 the command or the spec is wrong; 130 stopped by Ctrl-C or
SIGTERM, after saving a checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from trainer.contract.ends import EndReason
from trainer.contract.problems import problems_of
from trainer.contract.spec import TrainingSpec
from trainer.errors import TrainerError, first_line, rejected
from trainer.loading import load_libraries
from trainer.terminal import Bar, JsonLines, Terminal

if TYPE_CHECKING:
    import torch

    from trainer.listener import Outcome

EXIT_ERROR, EXIT_USAGE, EXIT_STOPPED = 1, 2, 130


class UsageError(Exception):
    """The command line or the spec is wrong; each line of the message is one problem."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    rank = int(os.environ.get("RANK", "0"))
    try:
        spec = read_spec(options.spec)
        load_libraries()  # only now: a mistake in the spec should be told before
        folder = options.folder or Path("runs") / (options.spec.stem if options.spec.name != "-" else "stdin")
        resume = _resume_points(folder, options.resume)
        terminal: Terminal = JsonLines() if options.json else Bar()
        outcome = _train(spec, folder, resume, terminal)
    except UsageError as error:
        return _complain(rank, str(error), EXIT_USAGE)
    except TrainerError as error:
        return _complain(rank, error.detail, EXIT_ERROR)
    except KeyboardInterrupt:
        return _complain(rank, "Stopped at once, without saving.", EXIT_STOPPED)
    except Exception as error:  # a bug, or a rank that lost the others: no traceback reaches a person, but it is kept
        trace = folder / f"crash-rank-{rank}.txt"
        folder.mkdir(parents=True, exist_ok=True)
        trace.write_text(traceback.format_exc(), encoding="utf-8")
        return _complain(rank, f"{type(error).__name__}: {first_line(error)}. More is in {trace}.", EXIT_ERROR)
    return EXIT_STOPPED if outcome.reason is EndReason.cancelled_by_user else 0


def read_spec(path: Path) -> TrainingSpec:
    """YAML or JSON, "-" for standard input. Raises UsageError with a line per problem."""
    try:
        text = sys.stdin.read() if path.name == "-" else path.read_text(encoding="utf-8")
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read ({reason}). Name a YAML or JSON file.") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is neither YAML nor JSON ({' '.join(str(error).split())}).") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path}: must hold the fields of a training spec, holds {type(document).__name__}.")
    try:
        return TrainingSpec.model_validate(document)
    except ValidationError as error:
        raise UsageError("\n".join(f"{path}: {problem.sentence()}" for problem in problems_of(error))) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer", description="Trains one spec, without the service.")
    parser.add_argument("--spec", type=Path, required=True, help="YAML or JSON file of the training spec; - for stdin")
    parser.add_argument("--folder", type=Path, help="where checkpoints go (default: runs/<name of the spec file>)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in the folder, if any")
    parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a progress bar")
    return parser


def _resume_points(folder: Path, resume: bool) -> list[Path]:
    from trainer.checkpoint import found_in, step_of

    found = found_in(folder)
    if found and not resume:
        raise UsageError(
            f"{folder} holds a run up to step {step_of(found[0])}: add --resume to go on, or name another --folder."
        )
    return found


def _train(spec: TrainingSpec, folder: Path, resume: list[Path], terminal: Terminal) -> Outcome:
    from trainer.loop import train
    from trainer.parallel import join_from_environment, leave
    from trainer.signals import stop_wish

    device = _device(spec)
    world = join_from_environment(device)
    try:
        with stop_wish() as stop, terminal.shown_on(world.rank) as listener:
            if world.size != spec.world_size and world.is_first:
                text = f"The spec asks for {spec.world_size} workers, here are {world.size}: same batch, other passes."
                listener.notice("other_world_size", text, 0)
            outcome = train(spec, world, folder=folder, listener=listener, resume=resume, stop=stop)
            terminal.ended(outcome)
            return outcome
    finally:
        leave(world)


def _device(spec: TrainingSpec) -> torch.device:
    import torch

    if not spec.resources.gpus_per_worker:
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise rejected(
            f"resources.gpus_per_worker is 1: process {local_rank} of this machine needs a GPU, torch sees {count}. "
            "Set it to 0, or start fewer processes."
        )
    return torch.device("cuda", local_rank)


def _complain(rank: int, message: str, code: int) -> int:
    prefix = f"rank {rank}: " if "RANK" in os.environ else ""
    for line in message.splitlines():
        print(f"{prefix}{line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
