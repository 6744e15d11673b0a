"""A host that lost its disks but for the backups: all of it comes back, and a new run goes on from an old one."""

from __future__ import annotations

import httpx

from docker.way_back import WRITERS
from tests.deploy.site import PROJECT, Site
from tests.integration.faults.specs import digits_run

BACKUP = "/srv/basin/backups/before-the-disk-broke"
LOST = ("postgres", "valkey", "storage", "spool")
"""Volumes."""
TABLES = ("users", "tokens", "runs", "attempts", "events", "checkpoints", "report_marks", "metric_points")


def rows(site: Site) -> dict[str, str]:
    """Of each table how many there are, and a digest of them all."""
    digest = "SELECT count(*) || ' ' || coalesce(md5(string_agg(whole, '|' ORDER BY whole)), '')"
    return {table: site.sql(f"{digest} FROM (SELECT {table}::text AS whole FROM {table}) AS them") for table in TABLES}


def files(site: Site) -> list[str]:
    """Of the runs, with their SHA-256."""
    script = "cd /srv/basin/storage && find runs -type f -not -path '*/.*' -print0 | sort -z | xargs -0 -r sha256sum"
    return site.compose("run", "--rm", "-T", "admin", "sh", "-c", script).splitlines()


def status(site: Site) -> int:
    """Of a question with the token from before."""
    headers = {"Authorization": f"Bearer {site.token}"}
    return httpx.get(f"{site.api_url}/api/v1/runs", headers=headers, trust_env=False, timeout=60).status_code


def test_what_was_wiped_comes_back(site: Site) -> None:
    spec = digits_run(steps=20, workers=1)
    with site.watch() as watch:
        trained = watch.submit(spec)
        assert watch.until_ended(trained)["status"] == "succeeded"
    old_files = files(site)
    assert any(f"{trained}/checkpoints/" in line for line in old_files)
    site.compose("stop", "beat", "celery")  # so that the rows are the same a minute later
    old_rows = rows(site)
    site.compose("run", "--rm", "-T", "admin", "basin", "admin", "backup", BACKUP)

    site.compose("down")
    site.run("docker", "volume", "rm", *(f"{PROJECT}_{volume}" for volume in LOST))
    site.up()
    assert site.sql("SELECT count(*) FROM runs") == "0"
    assert files(site) == []
    assert status(site) == 401, "nobody is known here"

    site.compose("stop", *WRITERS)
    site.compose("run", "--rm", "-T", "admin", "basin", "admin", "restore", "--yes", BACKUP)
    assert rows(site) == old_rows
    assert files(site) == old_files
    site.up()
    assert status(site) == 200
    with site.watch() as watch:
        spec["model"]["init_from"] = {"run": trained}
        assert watch.until_ended(watch.submit(spec))["status"] == "succeeded"
