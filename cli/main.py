"""The `basin` command: `basin up`, `basin stack ...`, `basin run ...`."""

from __future__ import annotations

import sys

import typer

from cli.failure import ExitCode, Failure
from cli.stack_commands import stack_app, up_command

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("up")(up_command)
app.add_typer(stack_app, name="stack")


def main() -> None:
    """Turns a Failure into its sentence and its exit code; Ctrl-C into 130."""
    try:
        app()
    except Failure as failure:
        sys.stderr.write(f"basin: {failure.sentence}\n")
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.interrupted)
    except BrokenPipeError:
        sys.exit(ExitCode.failed)
