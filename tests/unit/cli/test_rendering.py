"""Tables and pages of runs: what is there is shown, what is not takes no room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from cli.rendering import run_page, run_table, starts
from tests.unit.cli.test_comparison import run


def text_of(table: Table) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as caught:
        console.print(table)
    return caught.get()


def test_studies_and_priorities_are_columns_only_where_there_are_any() -> None:
    plain = text_of(run_table([run("a"), run("b")], 160))
    assert "study" not in plain
    assert "priority" not in plain
    full = text_of(run_table([run("a"), run("b", study="[digits]", priority=7, status="queued", position=2)], 160))
    assert "[digits]" in full
    assert "queued, place 2" in full
    assert " 7 " in full


def test_a_page_shows_where_a_run_belongs_and_came_from() -> None:
    page = text_of(run_page(run("a", study="s1", priority=-3, copied_from="b2"), "http://x/runs/a"))
    assert all(word in page for word in ("s1", "-3", "copied from", "b2", "http://x/runs/a"))
    assert "copied from" not in text_of(run_page(run("a"), "http://x/runs/a"))


def test_a_queued_run_says_when_it_starts_where_that_is_known() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    waits = run("a", status="queued", position=2, estimated_start=now + timedelta(hours=3))
    assert starts(waits, now) == "in about 3 h"
    assert starts(waits, now + timedelta(hours=4)) == "in a moment"
    assert starts(run("a", status="queued"), now) is None
    soon = run("a", status="queued", position=2, estimated_start=datetime.now(UTC) + timedelta(hours=3))
    assert "queued, place 2, in about" in text_of(run_table([soon], 160))
    assert "in about" in text_of(run_page(soon, "http://x"))


def test_in_eighty_columns_every_run_keeps_one_line_and_its_whole_id() -> None:
    long = "a-name-without-spaces-that-goes-on-and-on-" * 3
    runs = [
        run(f"b4f8e6ea450{n}", name=long, study=long, priority=10, step=1908, total_steps=1920, method="look_layersam")
        for n in (1, 2)
    ]
    console = Console(width=80, color_system=None)
    with console.capture() as caught:
        console.print(run_table(runs, 80))
    lines = caught.get().splitlines()
    assert len(lines) == 3
    assert [line.split()[0] for line in lines[1:]] == ["b4f8e6ea4501", "b4f8e6ea4502"]
    assert all("1908/1920" in line and "look_layersam" in line for line in lines[1:])
