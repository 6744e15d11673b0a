"""`basin admin nodes|drain|undrain`: the machines of the cluster, and taking one out of use without losing a run."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.connection import connect
from cli.operations_requests import NodeView
from cli.options import AsJson, Token, Url, print_json

SHOWN_RUNS = 4

NodeName = Annotated[str, typer.Argument(metavar="NODE", help="Its name or address, as `basin admin nodes` shows it.")]


def nodes(as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """List the machines of the cluster, what is held on each, and which take no new runs."""
    with connect(url, token) as client:
        page = client.operations.nodes()
    print_json(page) if as_json else Console().print(node_table(page.items))


def drain(
    node: NodeName,
    move: Annotated[
        bool,
        typer.Option("--move", help="Pause its runs with a checkpoint; they go on elsewhere. Default: they finish."),
    ] = False,
    reason: Annotated[str, typer.Option(help="For people, e.g. 'new driver on Monday'.")] = "",
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Give a machine no new runs, until `undrain`: before it is restarted, upgraded or taken away."""
    with connect(url, token) as client:
        drained = client.operations.drain(node, reason=reason, move=move)
    print_json(drained) if as_json else Console().print(node_table([drained]))


def undrain(node: NodeName, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Let a machine take runs again."""
    with connect(url, token) as client:
        undrained = client.operations.undrain(node)
    if as_json:
        print_json(undrained or {"host": node})
    elif undrained is None:
        typer.echo(f"{node} is not known any more, and takes runs again when it comes back")
    else:
        Console().print(node_table([undrained]))


def node_table(machines: list[NodeView]) -> Table:
    table = Table("node", "CPU slots", "GPUs", "state", "workers", "runs", box=None, pad_edge=False)
    for machine in machines:
        more = f" and {len(machine.runs) - SHOWN_RUNS} more" if len(machine.runs) > SHOWN_RUNS else ""
        runs = ", ".join(machine.runs[:SHOWN_RUNS]) + more
        table.add_row(
            Text(machine.host), str(machine.cpus), str(machine.gpus), _state(machine), str(machine.workers), Text(runs)
        )
    return table


def _state(machine: NodeView) -> Text:
    if machine.drain is None:
        return Text("takes runs", style="green") if machine.alive else Text("away", style="red")
    done = "empty" if not machine.workers else "its runs are moved" if machine.drain.moves else "its runs finish"
    away = "" if machine.alive else ", away"
    why = f" ({machine.drain.reason})" if machine.drain.reason else ""
    return Text(f"drained{away}: {done}{why}", style="yellow")
