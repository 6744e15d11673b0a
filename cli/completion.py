"""What the shell completes. Whoever presses Tab waits, so the API gets a second, and what goes wrong completes nothing.

`basin --install-completion` sets it up for bash, zsh or fish.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import typer

from cli.views import STATUSES, RunView, StudyView

API_SECONDS = 1.0
OFFERED = 200
PARTS = ("postgres", "valkey", "ray", "api", "celery", "beat")

Offers = list[tuple[str, str]]
"""Words with what they mean; zsh and fish show both."""


def run_ids(ctx: typer.Context, incomplete: str) -> Offers:
    given = {word for value in ctx.params.values() if isinstance(value, list | tuple) for word in value}
    runs = _recent_runs(ctx)
    return [
        (run.id, f"{run.name} ({run.status})") for run in runs if run.id.startswith(incomplete) and run.id not in given
    ]


def studies(ctx: typer.Context, incomplete: str) -> Offers:
    return [(study.name, f"{study.runs} runs") for study in _studies(ctx) if study.name.startswith(incomplete)]


def statuses(incomplete: str) -> list[str]:
    return _beginning(STATUSES, incomplete)


def parts(incomplete: str) -> list[str]:
    return _beginning(PARTS, incomplete)


def methods(incomplete: str) -> Offers:
    from cli.spec_example import METHODS

    return _classes(METHODS, incomplete)


def optimizers(incomplete: str) -> Offers:
    from cli.spec_example import OPTIMIZERS

    return _classes(OPTIMIZERS, incomplete)


def data_sources(incomplete: str) -> Offers:
    from cli.spec_example import DATA

    return _classes(DATA, incomplete)


def metrics(incomplete: str) -> Offers:
    from trainer.contract.metrics import CATALOGUE

    return [(metric.name, metric.title) for metric in CATALOGUE if metric.name.startswith(incomplete)]


def spec_paths(incomplete: str) -> list[str]:
    from cli.spec_example import field_paths

    return [f"{path}=" for path in field_paths() if path.startswith(incomplete)]


def log_sources(incomplete: str) -> list[str]:
    return _beginning(("driver", "rank-0", "rank-1", "ray"), incomplete)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _classes(known: dict[str, type], incomplete: str) -> Offers:
    return [(word, (each.__doc__ or "").split("\n")[0]) for word, each in known.items() if word.startswith(incomplete)]


def _recent_runs(ctx: typer.Context) -> list[RunView]:
    from cli.connection import connect

    with suppress(Exception), connect(ctx.params.get("url"), ctx.params.get("token"), API_SECONDS) as client:
        return client.runs(limit=OFFERED).items
    return []


def _studies(ctx: typer.Context) -> list[StudyView]:
    from cli.connection import connect

    with suppress(Exception), connect(ctx.params.get("url"), ctx.params.get("token"), API_SECONDS) as client:
        return client.studies().items
    return []
