"""`basin admin users|quota`: who may have how much, and what each has had."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Token, Url, print_json
from cli.views import UserView

DEFAULT = "default"

admin_app = typer.Typer(no_args_is_help=True, help="For admins: users, their quotas and their use.")


@admin_app.command("users")
def list_users(as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """List users with their quotas and their use."""
    with connect(url, token) as client:
        page = client.users()
    if as_json:
        print_json(page)
        return
    Console().print(user_table(page.items))


@admin_app.command("quota")
def quota(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    max_workers: Annotated[str | None, typer.Option(help='Workers at once, or "default".')] = None,
    max_queued_runs: Annotated[
        str | None, typer.Option(help='Runs that wait, paused ones included, or "default".')
    ] = None,
    gpu_hours_per_month: Annotated[
        str | None, typer.Option(help='GPU-hours in a calendar month (UTC), or "default".')
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Fair share: twice the weight gets twice the slots.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Change a user's quotas and weight. What runs already goes on; "default" brings back the installation's quota."""
    changes: dict[str, Any] = {
        "max_workers": _given("--max-workers", max_workers, int),
        "max_queued_runs": _given("--max-queued-runs", max_queued_runs, int),
        "gpu_hours_per_month": _given("--gpu-hours-per-month", gpu_hours_per_month, float),
        "weight": _given("--weight", None if weight is None else str(weight), float),
    }
    changes = {key: None if value == DEFAULT else value for key, value in changes.items() if value is not None}
    if not changes:
        raise Failure(
            "nothing to change: give --max-workers, --max-queued-runs, --gpu-hours-per-month or --weight",
            ExitCode.refused,
        )
    with connect(url, token) as client:
        user = client.set_quotas(name, changes)
    print_json(user) if as_json else Console().print(user_table([user]))


def user_table(users: list[UserView]) -> Table:
    table = Table("user", "role", "weight", "workers", "queued", "GPU-hours this month", box=None, pad_edge=False)
    for user in users:
        hours = _of(f"{user.gpu_hours_this_month:.1f}", user.gpu_hours_per_month)
        most = "no limit" if user.max_workers is None else f"{user.max_workers} at once"
        queued = _of(str(user.queued_runs), user.max_queued_runs)
        table.add_row(Text(user.name), user.role, f"{user.weight:g}", most, queued, hours)
    return table


def _of(has: str, most: float | None) -> str:
    return has if most is None else f"{has} of {most:g}"


def _given(option: str, value: str | None, number: type[int] | type[float]) -> int | float | str | None:
    if value is None or value == DEFAULT:
        return value
    try:
        given = number(value)
        if not math.isfinite(given):
            raise ValueError(value)
        return given
    except ValueError:
        raise Failure(f'{option} {value!r} must be a number or "{DEFAULT}"', ExitCode.refused) from None
