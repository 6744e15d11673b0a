"""`basin admin collect`: removes what is kept no longer, or says what that would be."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.connection import connect
from cli.data_page import readable_bytes
from cli.failure import ExitCode, Failure
from cli.operations_requests import CollectableView
from cli.options import AsJson, Token, Url, print_json

LOOK_SECONDS = 300.0
"""Every folder that would go is measured."""


def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and how much disk that frees.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Remove what the settings keep no longer: logs, points of archived runs, events, deliveries, orphaned folders.

    The Celery worker does so every hour by itself; this has it begin now.
    """
    with connect(url, token, LOOK_SECONDS) as client:
        plan = client.operations.collection() if dry_run else client.operations.collect()
    if as_json:
        print_json(plan)
        return
    table = Table("kind", "kept", "items", "disk", "what", box=None, pad_edge=False)
    for item in plan.items:
        table.add_row(item.kind, _kept(item), f"{item.items:,}", readable_bytes(item.bytes), item.what)
    Console().print(table)
    if not plan.storage_is_there:
        raise Failure("the storage is not there, so nothing on it is looked at: mount it", ExitCode.failed)
    typer.echo(f"{readable_bytes(plan.bytes)} {'would be' if dry_run else 'are being'} freed")


def _kept(item: CollectableView) -> str:
    if item.kept_days is None:
        return f"for ever ({item.setting})"
    return f"{item.kept_days:g} days"
