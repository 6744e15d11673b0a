"""From a clean checkout to a trained study, over the published port and through TLS."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
from playwright.sync_api import Browser, expect

from docker import init
from tests.deploy.site import Site, service_of
from tests.deploy.stand_ins import ROOT
from tests.e2e.browser import Heard
from tests.integration.faults.specs import digits_run

SPECS = sorted((ROOT / "cli/demo_specs").glob("*.yaml"))
ONE_SHOT = {"migrate"}


def test_two_commands_bring_it_up_healthy(site: Site) -> None:
    said = site.initialise()
    assert "docker compose up -d --wait" in said
    site.up()
    containers = site.containers()
    assert {service_of(container) for container in containers} == {
        "postgres", "valkey", "migrate", "api", "celery", "beat", "ray-head", "ray-worker-cpu", "proxy",
    }  # fmt: skip
    for container in containers:
        state, service = container["State"], service_of(container)
        if service in ONE_SHOT:
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), service
        else:
            assert state["Health"]["Status"] == "healthy", service


def test_the_first_token_is_printed_by_a_command(site: Site) -> None:
    site.token = site.run("make", "--no-print-directory", "deploy-token").splitlines()[-1]
    assert json.loads(site.basin("admin", "users", "--json"))["items"][0]["name"] == "admin"


def test_the_demo_study_trains_over_the_published_port(site: Site) -> None:
    runs = [json.loads(site.basin("run", "submit", str(spec), "--study", "demo", "--json"))["id"] for spec in SPECS]
    assert len(runs) == 4
    with site.watch() as watch:
        ended = [watch.until_ended(run, within=1800) for run in runs]
    assert {(run["status"], run["reason"]) for run in ended} == {("succeeded", "completed")}
    for run in runs:
        points = int(site.sql(f"SELECT count(*) FROM metric_points WHERE run_id = '{run}'"))
        assert points > 100


def test_an_uploaded_data_set_is_seen_where_runs_train(site: Site, tmp_path: Path) -> None:
    folder = site.folder / "data"
    if folder.stat().st_uid != init.IMAGE_USER:
        folder.chmod(0o777)  # Who is not root cannot give it away.
    for name in ("train/cats/1.jpg", "train/dogs/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    done = json.loads(site.basin("data", "upload", str(tmp_path), "pets", "--json"))
    assert (done["path"], done["files"]) == ("/data/pets", 2)
    for service in ("api", "celery", "ray-worker-cpu"):
        seen = site.compose("exec", "-T", service, "cat", "/data/pets/train/cats/1.jpg")
        assert seen == "train/cats/1.jpg", service


def test_the_dashboard_opens_through_tls(site: Site, browser: Browser) -> None:
    heard = Heard()
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    heard.listen(page)
    page.goto(f"{site.tls_url}/#token={site.token}")
    expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("demo").first).to_be_visible(timeout=30_000)
    [cookie] = [cookie for cookie in context.cookies() if cookie["name"] == "basin_session"]
    assert cookie["secure"]
    assert cookie["httpOnly"]
    context.close()
    assert heard.lines == []


def test_events_come_through_tls_while_a_run_trains(site: Site) -> None:
    with site.watch() as watch:
        run = watch.submit(digits_run(steps=150, workers=1))
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        address, headers = f"{site.tls_url}/api/v1/stream?topics=run:{run}", {"Authorization": f"Bearer {site.token}"}
        with httpx.stream("GET", address, headers=headers, timeout=120, verify=trusting, trust_env=False) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                # Bytes that a proxy held back would come when the stream ends, ten minutes later.
                if line.startswith("data:") and run in line:
                    break
            else:
                raise AssertionError("the stream ended without a word of the run")
        assert watch.run(run)["status"] in ("queued", "launching", "running")
        assert watch.until_ended(run)["status"] == "succeeded"


def test_the_operations_numbers_stay_inside(site: Site) -> None:
    assert httpx.get(f"{site.tls_url}/metrics", verify=False, trust_env=False, timeout=30).status_code == 404
