"""`basin run export ID --to FOLDER`: a run's newest or best weights as files, written by `trainer/export.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, RunId, Token, Url, print_json
from cli.part_process import messages, no_answer
from cli.views import RunView

MANIFEST = "manifest.json"
"""The last file that a checkpoint gets, so there is one where it is."""


def export(
    run_id: RunId,
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where to; it must be empty or not there.")],
    best: Annotated[bool, typer.Option("--best", help="Those of the best validation, not the newest.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too; needs `basin[onnx]`.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what an export left in the folder.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write a run's newest weights (or --best) as safetensors that timm loads, with a model card."""
    with connect(url, token) as client:
        run = client.run(run_id)
        checkpoint = newest_checkpoint(client, run)
    if run.status != "succeeded":
        which = "best checkpoint so far" if best else "newest checkpoint"
        typer.echo(f"basin: the run is {run.status}: this is its {which}, not its end", err=True)
    told = exported(checkpoint, to, best=best, onnx=onnx, force=force, run=run)
    if as_json:
        print_json(told)
    else:
        typer.echo(_sentence(told))


def newest_checkpoint(client: Client, run: RunView) -> Path:
    """The newest checkpoint of the run, where this machine sees it. Raises Failure (exit code 2)."""
    there = client.checkpoints(run.id)
    if not there.items:
        raise Failure(f"run {run.id} has no checkpoint: it is {run.status} at step {run.step}", ExitCode.refused)
    paths = [Path(there.storage) / each.path for each in there.items]
    for path in paths:
        if (path / MANIFEST).is_file():
            return path
    raise Failure(
        f"the newest checkpoint of run {run.id} is {paths[0]} on the API's machine, and this machine sees no such "
        "folder: run the command there, or mount the storage at the same path, or copy the folder here and run "
        "`python -m trainer.export --checkpoint FOLDER --to FOLDER`",
        ExitCode.refused,
    )


def exported(checkpoint: Path, to: str, *, best: bool = False, onnx: bool, force: bool, run: RunView) -> dict[str, Any]:
    """Runs the export and returns what it says of itself. Raises Failure."""
    arguments = ["--checkpoint", str(checkpoint), "--to", to, "--run", run.id, f"--title={run.name}"]
    chosen = {"--best": best, "--onnx": onnx, "--force": force}
    arguments += [name for name, is_chosen in chosen.items() if is_chosen]
    told: dict[str, Any] = {}
    for message in messages("trainer.export", arguments):
        told = {name: value for name, value in message.items() if name != "event"}
    if not told:
        raise no_answer("trainer.export")
    return told


def _sentence(told: dict[str, Any]) -> str:
    sizes = ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in told["files"].items())
    difference = told["onnx_largest_difference"]
    onnx = f"\nThe ONNX graph's logits differ from torch's by {difference:.1e} of the largest." if difference else ""
    return (
        f"{told['folder']}: {told['model']}, {told['num_parameters']:,} parameters, {told['num_classes']} classes, "
        f"step {told['step']}\n{sizes}{onnx}\n"
        f'Load it: timm.create_model("local-dir:{told["folder"]}", pretrained=True); or `basin predict`.'
    )
