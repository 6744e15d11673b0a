"""One person, one browser: submit in the page, watch, compare, lose and regain the API, log out and in.

Nobody reloads the page between the first line and the last, and its console stays silent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import Heard
from tests.integration.faults.specs import digits_run
from tests.integration.running_stack import RunningStack

TRAINING_MS = 600_000  # bounds a failure only: three runs in turn, beside the rest of the suite
STUDY = "story"
NAME = "looksam with k 7"
SPEC = """\
model:
  name: vit_tiny_patch16_224
  arguments: {patch_size: 4, embed_dim: 32, depth: 1, num_heads: 2}
data:
  source: digits
optimizer:
  name: adamw
  lr: 0.001
method:
  name: looksam # the reuse interval is set in the form
  rho: 0.05
  k: 5
global_batch_size: 64
steps: 60
resources:
  workers: 2
logging:
  every_steps: 1
"""


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def page(browser: Browser, heard: Heard) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    heard.listen(opened)
    yield opened
    context.close()


def test_the_whole_way_through_in_the_page(page: Page, stack: RunningStack, heard: Heard) -> None:
    others = [stack.client.submit(digits_run(steps=40), name=f"other {n}", study=STUDY).id for n in (1, 2)]
    page.goto(f"{stack.api_url}/#token={stack.token}")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    assert "token" not in page.url

    run_id = submit_in_the_page(page)
    watch_it_finish(page)
    compare(page, [run_id, *others])
    lose_and_regain_the_api(page, stack, heard)
    log_out_and_in(page, stack)

    assert heard.lines == []


def submit_in_the_page(page: Page) -> str:
    """Types YAML and changes the form: each follows the other, and a mistake is told before anything is sent."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name=re.compile("Submit|New run")).click()
    page.get_by_label("Name", exact=True).fill(NAME)
    page.get_by_role("combobox", name="Study").fill(STUDY)
    editor = page.get_by_role("textbox", name=re.compile("YAML"))
    editor.fill(SPEC)
    k = page.get_by_label("k", exact=True)
    expect(k).to_have_value("5")
    k.fill("0")
    check = page.get_by_role("region", name="Check")
    expect(check).to_contain_text("Must be >= 1")
    send = page.get_by_role("button", name="Submit the run")
    expect(send).to_be_disabled()
    k.fill("7")
    expect(editor).to_contain_text("k: 7")
    expect(editor).to_contain_text("# the reuse interval is set in the form")
    expect(check).to_contain_text(re.compile("60 steps"))
    send.click()
    page.wait_for_url(re.compile(r"/runs/[0-9a-f]{12}"))
    return page.url.rsplit("/", 1)[-1].split("?")[0]


def watch_it_finish(page: Page) -> None:
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    expect(page.get_by_role("main").get_by_text("Succeeded").first).to_be_visible(timeout=TRAINING_MS)
    expect(page.get_by_text("60 steps", exact=True).first).to_be_visible()
    page.get_by_role("tab", name=re.compile("signals")).click()
    expect(page.get_by_role("region", name="cos(g_v now, g_v before)")).to_be_visible()
    page.get_by_role("tab", name="Timeline").click()
    expect(page.get_by_role("tabpanel", name="Timeline").get_by_text("Submitted and queued.")).to_be_visible()


def compare(page: Page, run_ids: list[str]) -> None:
    """From the list, by ticking three rows."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Runs").click()
    for name in (NAME, "other 1", "other 2"):
        row = page.get_by_role("row", name=re.compile(re.escape(name)))
        expect(row.get_by_text("Succeeded")).to_be_visible(timeout=TRAINING_MS)
        row.get_by_role("checkbox").click()
    page.get_by_role("region", name="Selected runs").get_by_role("button", name="Compare").click()
    page.wait_for_url(re.compile(r"/compare\?"))
    assert all(run_id in page.url for run_id in run_ids)
    for name in (NAME, "other 1", "other 2"):
        expect(page.get_by_role("main").get_by_text(name).first).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    page.get_by_role("radiogroup", name="x axis").get_by_text("Gradient evaluations").click()
    page.wait_for_url(re.compile("gradient_evaluations"))


def lose_and_regain_the_api(page: Page, stack: RunningStack, heard: Heard) -> None:
    """A list that was open all the while shows afterwards what happened meanwhile."""
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Runs").click()
    expect(page.get_by_role("row", name=re.compile("other 1"))).to_be_visible()
    heard.api_is_away = True
    stack.stop("api")
    expect(page.get_by_text("Connection lost")).to_be_visible(timeout=120_000)
    stack.start("api")
    stack.client.submit(digits_run(steps=3), name="after the outage", study=STUDY)
    expect(page.get_by_text("Connection lost")).to_be_hidden(timeout=180_000)
    heard.api_is_away = False
    row = page.get_by_role("row", name=re.compile("after the outage"))
    expect(row.get_by_text("Succeeded")).to_be_visible(timeout=TRAINING_MS)


def log_out_and_in(page: Page, stack: RunningStack) -> None:
    page.get_by_role("button", name="local").click()
    page.get_by_role("menuitem", name="Log out").click()
    token = page.get_by_label("Access token")
    expect(token).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(0)
    token.fill(stack.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("row", name=re.compile("after the outage"))).to_be_visible()
