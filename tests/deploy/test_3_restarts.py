"""Parts restart in the middle of a run, one after the other, then all of them; the run does not notice."""

from __future__ import annotations

import pytest

from tests.deploy.site import Site
from tests.integration.faults.specs import digits_run
from tests.integration.faults.verdict import different
from tests.integration.faults.watching import Points

STEPS, BETWEEN = 1000, 40
SERVICES = ("ray-worker-cpu", "valkey", "postgres", "celery", "beat", "api", "proxy", "ray-head")
SPEC = digits_run(steps=STEPS, workers=2)
TRAINED_SECONDS = 2400


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Points:
    """The deterministic points of a run that nothing happens to."""
    with site.watch() as watch:
        run = watch.submit(SPEC)
        assert watch.until_ended(run, within=TRAINED_SECONDS)["status"] == "succeeded"
        return watch.points(run)


def test_every_service_restarts_in_the_middle_of_a_run(site: Site, undisturbed: Points) -> None:
    with site.watch() as watch:
        run = watch.submit(SPEC)
        for number, service in enumerate(SERVICES, start=1):
            watch.until_step(run, number * BETWEEN, within=TRAINED_SECONDS)
            assert watch.run(run)["ended_at"] is None, f"it ended before {service} was restarted: it needs more steps"
            site.compose("restart", service)
        ended = watch.until_ended(run, within=TRAINED_SECONDS)
        assert (ended["status"], ended["reason"]) == ("succeeded", "completed")
        assert different(watch.points(run), undisturbed) == []
    assert len(ended["attempts"]) > 1, "a worker's restart ends an attempt"


def test_after_down_and_up_runs_go_on_and_queued_ones_start(site: Site, undisturbed: Points) -> None:
    with site.watch() as watch:
        running = watch.submit(SPEC)
        queued = watch.submit(digits_run(steps=40, workers=2, seed=8))
        watch.until_step(running, 60, within=TRAINED_SECONDS)
        assert watch.run(queued)["status"] == "queued"
        site.compose("down")
        site.up()
        ended = watch.until_ended(running, within=TRAINED_SECONDS)
        assert (ended["status"], ended["reason"]) == ("succeeded", "completed")
        assert different(watch.points(running), undisturbed) == []
        assert len(ended["attempts"]) == 2
        assert ended["attempts"][1]["resume_step"] >= 20, "it goes on from a checkpoint"
        assert watch.until_ended(queued, within=TRAINED_SECONDS)["status"] == "succeeded"
