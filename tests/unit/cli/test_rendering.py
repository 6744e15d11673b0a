"""Tables and pages of runs: what is there is shown, what is not takes no room."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cli.rendering import run_page, run_table
from tests.unit.cli.test_comparison import run


def text_of(table: Table) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as caught:
        console.print(table)
    return caught.get()


def test_studies_and_priorities_are_columns_only_where_there_are_any() -> None:
    plain = text_of(run_table([run("a"), run("b")]))
    assert "study" not in plain
    assert "priority" not in plain
    full = text_of(run_table([run("a"), run("b", study="[digits]", priority=7, status="queued", position=2)]))
    assert "[digits]" in full
    assert "queued, place 2" in full
    assert " 7 " in full


def test_a_page_shows_where_a_run_belongs_and_came_from() -> None:
    page = text_of(run_page(run("a", study="s1", priority=-3, copied_from="b2"), "http://x/runs/a"))
    assert all(word in page for word in ("s1", "-3", "copied from", "b2", "http://x/runs/a"))
    assert "copied from" not in text_of(run_page(run("a"), "http://x/runs/a"))
