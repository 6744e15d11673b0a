"""The `basin` command: every command by its name."""

from __future__ import annotations

import sys

import typer

from cli.admin_commands import admin_app
from cli.backup_commands import backup, restore_backup
from cli.collect_command import collect
from cli.data_commands import data_app
from cli.data_upload import upload
from cli.doctor_command import doctor
from cli.failure import ExitCode, Failure
from cli.node_commands import drain, nodes, undrain
from cli.predict_command import predict
from cli.run_changes import clone, edit
from cli.run_commands import list_runs, show, submit, watch_run
from cli.run_compare import compare
from cli.run_export import export
from cli.run_lifecycle import archive, cancel, delete, pause, restore, resume, unarchive
from cli.run_logs import logs
from cli.spec_commands import spec_app
from cli.stack_commands import demo_command, stack_app, up_command
from cli.study_commands import study_app
from cli.webhook_commands import webhook_app

EXIT_CODES = """Exit codes: 0 done; 1 the run or the stack failed; 2 refused input; 3 no API, or it refused the token;
130 interrupted."""

run_app = typer.Typer(no_args_is_help=True, help="Submit, look at, compare, change and end runs.")
run_app.command("submit")(submit)
run_app.command("list")(list_runs)
run_app.command("show")(show)
run_app.command("watch")(watch_run)
run_app.command("logs")(logs)
run_app.command("compare")(compare)
run_app.command("export")(export)
run_app.command("clone")(clone)
run_app.command("edit")(edit)
run_app.command("pause")(pause)
run_app.command("resume")(resume)
run_app.command("cancel")(cancel)
run_app.command("archive")(archive)
run_app.command("unarchive")(unarchive)
run_app.command("delete")(delete)
run_app.command("restore")(restore)

data_app.command("upload")(upload)
admin_app.command("nodes")(nodes)
admin_app.command("drain")(drain)
admin_app.command("undrain")(undrain)
admin_app.command("collect")(collect)
admin_app.command("backup")(backup)
admin_app.command("restore")(restore_backup)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train vision models that generalise, as a service.",
    epilog=EXIT_CODES,
)
app.command("up")(up_command)
app.command("demo")(demo_command)
app.command("doctor")(doctor)
app.command("predict")(predict)
app.add_typer(stack_app, name="stack")
app.add_typer(spec_app, name="spec")
app.add_typer(run_app, name="run")
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(admin_app, name="admin")
app.add_typer(webhook_app, name="webhook")


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
