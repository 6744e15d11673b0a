"""`basin spec init|check`: an example to start from, and a spec's mistakes before it is sent. Neither needs an API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import completion
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Settings, print_json
from cli.spec_example import DATA, METHODS, OPTIMIZERS, example
from cli.spec_file import check, parse, read_spec

spec_app = typer.Typer(no_args_is_help=True, help="Write an example spec; check one without an API.")


@spec_app.command("init")
def init(
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write it; - prints it.")] = "-",
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(METHODS)}.", autocompletion=completion.methods)
    ] = "looksam",
    data: Annotated[
        str, typer.Option(help=f"One of {', '.join(DATA)}.", autocompletion=completion.data_sources)
    ] = "digits",
    optimizer: Annotated[
        str, typer.Option(help=f"One of {', '.join(OPTIMIZERS)}.", autocompletion=completion.optimizers)
    ] = "adamw",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an example spec in which every field stands, explained, with its default."""
    text = example(method=method, data=data, optimizer=optimizer)
    if file != "-":
        _write(Path(file), text, force)
    if as_json:
        print_json(check(parse(text, "example")))
    elif file == "-":
        typer.echo(text, nl=False)
    else:
        typer.echo(f"wrote {file}: queue it with `basin run submit {file}`")


def _write(path: Path, text: str, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Failure(
            f"{path} is there already: name another file, or write over it with --force", ExitCode.refused
        ) from None
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}", ExitCode.refused) from None


@spec_app.command("check")
def check_spec(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Training spec in YAML or JSON; - is standard input.")],
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Check a spec without an API; with --json print it with its defaults filled in.

    What only the service knows (free slots, data folders) is checked by `basin run submit --dry-run`.
    """
    spec = check(read_spec(file, settings or []))
    if as_json:
        print_json(spec)
        return
    length = f"{spec.steps:,} steps" if spec.steps is not None else f"{spec.epochs:g} epochs"
    typer.echo(
        f"{file} is a valid spec: {spec.model.name} on {spec.data.source} with {spec.optimizer.name} and method "
        f"{spec.method.name}, {length} of {spec.global_batch_size:,} images on {spec.resources.workers} worker(s)"
    )
