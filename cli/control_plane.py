"""With which settings a process of the control plane works here: those in the environment, else the local stack's."""

from __future__ import annotations

import os

from cli.failure import ExitCode, Failure
from cli.stack.home import Home, home_from_environment
from cli.stack.parts import Stack, control_environment

NEEDED = ("BASIN_DATABASE_URL", "BASIN_STORAGE")


def control_plane() -> tuple[Home | None, dict[str, str]]:
    """The home of the local stack (None: it is a deployment, described by its variables), and the environment.

    Raises Failure where there is neither.
    """
    if all(os.environ.get(name) for name in NEEDED):
        return None, dict(os.environ)
    home = home_from_environment()
    config = home.read_config()
    if config is None:
        raise Failure(
            f"no stack was ever started on {home.folder}: set BASIN_HOME, or in a deployment run this where the API"
            f" runs, with {' and '.join(NEEDED)} set",
            ExitCode.refused,
        )
    return home, control_environment(Stack(home, config, 1, None))
