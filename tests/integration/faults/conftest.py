"""What several fault tests compare with, made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.faults.watching import Points, Watch
from tests.integration.running_stack import RunningStack


@pytest.fixture(scope="session")
def undisturbed(stack: RunningStack) -> Callable[[dict[str, Any]], Points]:
    """Gives the points of a spec's run when nothing happens; plays it at the first request."""
    known: dict[str, Points] = {}

    def points_of(spec: dict[str, Any]) -> Points:
        key = json.dumps(spec, sort_keys=True)
        if key not in known:
            with Watch(stack.api_url, stack.token) as watch:
                known[key] = watch.undisturbed(spec)
        return known[key]

    return points_of
