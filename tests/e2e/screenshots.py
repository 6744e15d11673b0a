"""Photographs every page in both themes with 0, 3 and 300 runs: `make screenshots` writes docs/screenshots/.

A stack of its own on an empty folder, real runs: first none; then the demo's study; then hundreds, most of them
cancelled while queued, with names as long as the API allows.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, Page

from cli.client import Client, RunView
from cli.spec_file import read_spec
from cli.watching import changes
from tests.e2e.browser import NOT_FOUND, chromium, find_chromium
from tests.integration.running_stack import RunningStack

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "docs" / "screenshots"
SPECS = REPOSITORY / "cli" / "demo_specs"
THEMES = ("light", "dark")
SIZE = {"width": 1280, "height": 860}
STUDY = "demo"
THREE = {"adamw": "AdamW", "looksam": "LookSAM k=5", "look_layersam": "Look-LayerSAM k=5"}
MANY = 300
LONG_NAMES = (
    "ablation-of-the-reuse-interval-and-of-alpha-on-a-small-vision-transformer-with-stochastic-depth-and-label-smoothing-second-try",
    "W" * 128,
    "Überprüfung der flachen Minima 🏞️ mit sehr großen Stapeln — 学習率の比較 — مقارنة معدلات التعلم",
)
RUN_TABS = ("charts", "signals", "logs", "spec", "timeline")
SETTLE_MS = 2500
"""For fonts, charts and the last transition."""


@dataclass(frozen=True)
class Shot:
    """`state` is the number of runs; the file is <state>-<name>-<theme>.png."""

    state: int
    name: str
    path: str
    whole_page: bool = True


def main() -> int:
    if find_chromium() is None:
        print(NOT_FOUND, file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="basin-shots-") as folder:
        stack = RunningStack(Path(folder) / "home", arguments=("--slots=6",)).up()
        try:
            with chromium() as browser:
                take(browser, stack, [Shot(0, "sign-in", "/")], signed_in=False)
                take(browser, stack, without_runs())
                three = [trained(stack.client, word, name) for word, name in THREE.items()]
                wait(stack.client, three)
                take(browser, stack, with_three(three))
                wait(stack.client, [trained(stack.client, "sam", "SAM")])
                take(browser, stack, [Shot(4, "compare", f"/compare?study={STUDY}")])
                fill(stack.client)
                take(browser, stack, with_many(stack.client))
        finally:
            stack.close()
    return 0


def without_runs() -> list[Shot]:
    pages = {"runs": "/", "studies": "/studies", "compare": "/compare", "submit": "/submit", "missing-run": "/runs/0"}
    return [Shot(0, name, path) for name, path in pages.items()]


def with_three(runs: Sequence[RunView]) -> list[Shot]:
    look = runs[-1].id
    return [
        Shot(3, "runs", "/"),
        Shot(3, "studies", "/studies"),
        Shot(3, "compare", f"/compare?study={STUDY}"),
        Shot(3, "submit-from", f"/submit?from={look}"),
        *(Shot(3, f"run-{tab}", f"/runs/{look}?tab={tab}") for tab in RUN_TABS),
    ]


def with_many(client: Client) -> list[Shot]:
    trained_ones = [run.id for run in client.all_runs(study=STUDY)]
    ids = [run.id for run in client.runs(limit=30 - len(trained_ones)).items]
    return [
        Shot(MANY, "runs", "/", whole_page=False),
        Shot(MANY, "studies", "/studies", whole_page=False),
        Shot(MANY, "compare", f"/compare?runs={quote(','.join(trained_ones + ids))}", whole_page=False),
        Shot(MANY, "run-long-name", f"/runs/{ids[1]}"),
    ]


def trained(client: Client, word: str, name: str) -> RunView:
    return client.submit(read_spec(str(SPECS / f"{word}.yaml")), name=name, study=STUDY, project="demo")


def wait(client: Client, runs: Sequence[RunView]) -> None:
    for run in changes(client, [run.id for run in runs]):
        print(f"  {run.name}: {run.status}, step {run.step}", flush=True)
        assert run.status not in ("failed", "cancelled"), run.detail


def fill(client: Client) -> None:
    """Up to MANY runs: a large one that holds back the queue, the rest behind it; then most are cancelled."""
    spec = read_spec(str(SPECS / "adamw.yaml"), ["steps=20000", "resources.workers=4", "global_batch_size=256"])
    small = read_spec(str(SPECS / "looksam.yaml"))
    made = [client.submit(spec, name="holds the slots", study="long", priority=5)]
    missing = MANY - len(client.runs(limit=200).items) - 1
    for number in range(missing):
        name = (
            LONG_NAMES[number % len(LONG_NAMES)] if number % 3 == 0 or number > missing - 4 else f"sweep {number:03d}"
        )
        made.append(client.submit(small, name=name, study=f"sweep of rho {number % 7}", priority=number % 4))
    client.cancel_many([run.id for run in made[2:-40]])


def take(browser: Browser, stack: RunningStack, shots: Sequence[Shot], *, signed_in: bool = True) -> None:
    for theme in THEMES:
        context = browser.new_context(viewport=SIZE, color_scheme=theme, reduced_motion="reduce")
        page = context.new_page()
        if signed_in:
            page.goto(f"{stack.api_url}/#token={stack.token}")
            page.get_by_role("button", name="local").wait_for()
        for shot in shots:
            page.goto(f"{stack.api_url}{shot.path}")
            page.wait_for_timeout(SETTLE_MS)
            save(page, shot, FOLDER / f"{shot.state}-{shot.name}-{theme}.png")
        context.close()


def save(page: Page, shot: Shot, path: Path) -> None:
    """With a palette: a third of the size, and no difference that one sees."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=shot.whole_page)))
    image.convert("RGB").quantize(colors=256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size // 1024} KiB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
