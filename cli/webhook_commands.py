"""`basin webhook`: addresses that are told of runs, and the log of what was told."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Token, Url, print_json
from cli.rendering import shortened
from cli.webhook_requests import DeliveryView, WebhookView

webhook_app = typer.Typer(no_args_is_help=True, help="Tell your own services of runs; see docs/webhooks.md.")

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as `basin webhook list` shows it.")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", help="Only this type, e.g. run.failed; may be repeated. Default: all.", show_default=False),
]
Project = Annotated[str | None, typer.Option(help="Only runs of this project. Default: all.", show_default=False)]
Description = Annotated[str | None, typer.Option(help="What it is for, in a few words.", show_default=False)]
Covers = Annotated[
    str | None, typer.Option(help="mine, or everybody (admins only). Default: mine.", show_default=False)
]
STATES = ("waiting", "delivered", "failed", "dropped")


@webhook_app.command("add")
def add(
    address: Annotated[str, typer.Argument(metavar="URL", help="Where messages are posted, by https.")],
    event: Events = None,
    project: Project = None,
    description: Description = None,
    covers: Covers = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Add a webhook. Its secret is shown this once."""
    about = {"events": event, "project": project, "description": description, "covers": covers}
    with connect(url, token) as client:
        made = client.webhooks.add(address, **about)
    _tell_secret(made, as_json)


@webhook_app.command("list")
def list_webhooks(
    everybody: Annotated[bool, typer.Option("--everybody", help="All users'; for admins.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List webhooks, newest first."""
    with connect(url, token) as client:
        page = client.webhooks.list(everybody=everybody)
    if as_json:
        print_json(page)
        return
    if not page.items:
        typer.echo("no webhooks: add one with `basin webhook add URL`")
        return
    table = Table("id", *(["user"] if everybody else []), "url", "events", "state", "waiting", box=None, pad_edge=False)
    for webhook in page.items:
        user = [Text(webhook.user)] if everybody else []
        events = Text(", ".join(webhook.events) or "all")
        table.add_row(
            webhook.id, *user, Text(shortened(webhook.url, 60)), events, _state(webhook), str(webhook.waiting)
        )
    Console().print(table)


@webhook_app.command("show")
def show(webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show a webhook."""
    with connect(url, token) as client:
        webhook = client.webhooks.show(webhook_id)
    print_json(webhook) if as_json else _print(webhook)


@webhook_app.command("edit")
def edit(
    webhook_id: WebhookId,
    address: Annotated[str | None, typer.Option("--address", metavar="URL", help="The new address.")] = None,
    event: Events = None,
    all_events: Annotated[bool, typer.Option("--all-events", help="Be told of every type.")] = False,
    project: Annotated[str | None, typer.Option(help='Only runs of this project; "" for all.')] = None,
    description: Annotated[str | None, typer.Option(help='What it is for; "" for nothing.')] = None,
    covers: Covers = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Disabling drops what waits.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Change, enable or disable a webhook."""
    if event and all_events:
        raise Failure("give either --event or --all-events", ExitCode.refused)
    changes: dict[str, Any] = {"url": address, "events": [] if all_events else event, "covers": covers}
    changes = {key: value for key, value in (changes | {"enabled": enabled}).items() if value is not None}
    clearable = (("project", project), ("description", description))
    changes |= {key: value or None for key, value in clearable if value is not None}
    if not changes:
        raise Failure("nothing to change: `basin webhook edit --help` lists what can be", ExitCode.refused)
    with connect(url, token) as client:
        webhook = client.webhooks.edit(webhook_id, changes)
    print_json(webhook) if as_json else _print(webhook)


@webhook_app.command("rotate")
def rotate(webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Give a webhook a new secret, shown this once; the one before is valid for 24 h more."""
    with connect(url, token) as client:
        made = client.webhooks.rotate(webhook_id)
    _tell_secret(made, as_json)


@webhook_app.command("delete")
def delete(webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Delete a webhook and its log."""
    with connect(url, token) as client:
        client.webhooks.delete(webhook_id)
    print_json({"deleted": webhook_id}) if as_json else typer.echo(f"{webhook_id} deleted")


@webhook_app.command("test")
def send_test(webhook_id: WebhookId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Send a test message and say what came of it. Exits 1 if the receiver did not take it."""
    with connect(url, token) as client:
        delivery = client.webhooks.test(webhook_id)
    print_json(delivery) if as_json else typer.echo(_result(delivery))
    if delivery.state != "delivered":
        raise typer.Exit(ExitCode.failed)


@webhook_app.command("deliveries")
def deliveries(
    webhook_id: WebhookId,
    state: Annotated[str | None, typer.Option(help=f"Only those: {', '.join(STATES)}.", show_default=False)] = None,
    before: Annotated[int | None, typer.Option(help="Only those older than this delivery.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """A webhook's messages with what came of them, newest first.

    They are kept for BASIN_WEBHOOK_LOG_KEPT_DAYS, 30 days by default.
    """
    if state is not None and state not in STATES:
        raise Failure(f"--state {state!r} must be one of {', '.join(STATES)}", ExitCode.refused)
    with connect(url, token) as client:
        page = client.webhooks.deliveries(webhook_id, state=state, before=before, limit=limit)
    if as_json:
        print_json(page)
        return
    if not page.items:
        typer.echo(f"no deliveries: send one with `basin webhook test {webhook_id}`")
        return
    table = Table("id", "at", "type", "run", "state", "attempts", "last answer", box=None, pad_edge=False)
    for each in page.items:
        at = f"{each.created_at:%Y-%m-%d %H:%M:%S}"
        number = str(each.attempts[-1].number) if each.attempts else "0"
        table.add_row(str(each.id), at, each.type, each.run_id or "", each.state, number, Text(_answer(each)))
    Console().print(table)


@webhook_app.command("redeliver")
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[int, typer.Argument(metavar="DELIVERY", help="As `basin webhook deliveries` shows it.")],
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Send a message again, now, with the same id."""
    with connect(url, token) as client:
        delivery = client.webhooks.redeliver(webhook_id, delivery_id)
    print_json(delivery) if as_json else typer.echo(f"delivery {delivery.id} ({delivery.type}) is sent again")


def _tell_secret(made: WebhookView, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(f"{made.id} {made.url}\nsecret {made.secret}")
    typer.echo("Keep it: it is not shown again. `basin webhook test " + made.id + "` sends a message.", err=True)


def _print(webhook: WebhookView) -> None:
    page = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str | None]] = [
        ("id", webhook.id),
        ("user", webhook.user),
        ("url", webhook.url),
        ("for", webhook.description),
        ("project", webhook.project),
        ("events", ", ".join(webhook.events) or "all"),
        ("covers", webhook.covers if webhook.covers != "mine" else None),
        ("state", _state(webhook).plain),
        ("why", webhook.disabled_reason),
        ("waiting", str(webhook.waiting) if webhook.waiting else None),
        ("last success", f"{webhook.last_success_at:%Y-%m-%d %H:%M:%S}" if webhook.last_success_at else None),
    ]
    for field, value in rows:
        if value:
            page.add_row(Text(field, style="dim"), Text(value))
    Console().print(page)


def _state(webhook: WebhookView) -> Text:
    if not webhook.enabled:
        return Text("disabled", style="red")
    if webhook.failing_since:
        return Text(f"failing since {webhook.failing_since:%Y-%m-%d %H:%M}", style="yellow")
    return Text("enabled", style="green")


def _result(delivery: DeliveryView) -> str:
    if not delivery.attempts:
        return "not sent"
    last = delivery.attempts[-1]
    took = f" in {last.milliseconds} ms" if last.milliseconds is not None else ""
    return f"{'taken' if delivery.state == 'delivered' else 'not taken'}: {_answer(delivery)}{took}"


def _answer(delivery: DeliveryView) -> str:
    """Of the last attempt."""
    if not delivery.attempts:
        return ""
    last = delivery.attempts[-1]
    return last.error or (f"status {last.status_code}" if last.status_code else "under way")
