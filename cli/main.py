"""The `basin` command: `basin up`, `basin stack ...`, `basin run ...`, `basin demo`."""

from __future__ import annotations

import sys

import typer

from cli.failure import ExitCode, Failure
from cli.run_commands import run_app
from cli.stack_commands import demo_command, stack_app, up_command

EXIT_CODES = """Exit codes: 0 done; 1 the run or the stack failed; 2 refused input; 3 no API, or it refused the token;
130 interrupted."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train vision models that generalise, as a service.",
    epilog=EXIT_CODES,
)
app.command("up")(up_command)
app.command("demo")(demo_command)
app.add_typer(stack_app, name="stack")
app.add_typer(run_app, name="run")


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
