"""Fixtures with a whole stack, for the tests of the stack, of the command line and of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.running_stack import RunningStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One `basin up` for the whole session, with shortened leases. Leave it as you found it: all parts up."""
    running = RunningStack(tmp_path_factory.mktemp("stack") / "home")
    try:
        yield running.up()
    finally:
        running.close()


@pytest.fixture
def fresh_stack(tmp_path: Path) -> Iterator[Callable[..., RunningStack]]:
    """Makes stacks of a test's own, on new folders, and stops what still runs at its end."""
    made: list[RunningStack] = []

    def make(*arguments: str) -> RunningStack:
        running = RunningStack(tmp_path / f"home-{len(made)}", arguments=arguments or ("--slots=2",))
        made.append(running)
        return running.up()

    yield make
    for running in made:
        running.close()
