"""Upgrades: one whose new version does not work goes back by itself, one that works stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from docker import settings_file
from tests.deploy.site import Site

READY_SECONDS = 180
MIGRATION = '''"""A table that only the next version knows."""

from alembic import op

revision = "9999"
down_revision = {before!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE of_the_next_version (number integer)")


def downgrade() -> None:
    op.execute("DROP TABLE of_the_next_version")
'''


def commit(site: Site, why: str) -> None:
    site.run("git", "add", "--all")
    site.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--quiet", "-m", why)


def tag(site: Site) -> str:
    return settings_file.read(site.folder / ".env")["BASIN_TAG"]


def runs(site: Site) -> str:
    return site.sql("SELECT string_agg(id || status, ',' ORDER BY id) FROM runs")


def points(site: Site) -> int:
    return int(site.sql("SELECT count(*) FROM metric_points"))


def wait_until_ready(site: Site) -> None:
    """A part that came up a moment ago may not have been seen by the API yet."""
    deadline = time.monotonic() + READY_SECONDS
    while site.compose("exec", "-T", "api", "python", "/opt/basin/health.py", "ready", check=False) != "ready":
        assert time.monotonic() < deadline, "not ready"
        time.sleep(2)


@pytest.fixture(autouse=True, scope="module")
def _profiles(site: Site) -> None:
    """`make deploy-upgrade` takes those in .env."""
    settings_file.change(site.folder / ".env", {"COMPOSE_PROFILES": "cpu,tls"})


@pytest.fixture
def with_a_migration(site: Site) -> Path:
    """The checkout's next version adds a table."""
    before = site.sql("SELECT version_num FROM alembic_version")
    file = site.folder / "api/db/migrations/versions/9999_the_next_version.py"
    file.write_text(MIGRATION.format(before=before))
    return file


def test_a_version_that_migrates_and_then_fails_goes_back(site: Site, with_a_migration: Path) -> None:
    old_tag, old_runs, old_points = tag(site), runs(site), points(site)
    migration = site.sql("SELECT version_num FROM alembic_version")
    app = site.folder / "api/app.py"
    whole = app.read_text()
    app.write_text(whole + "\nraise SystemExit('this version does not start')\n")
    commit(site, "A version that does not start")
    said = site.run("make", "--no-print-directory", "deploy-upgrade", check=False)
    assert f"{old_tag} runs again" in said
    assert f"at migration {migration} again, and nothing is lost" in said
    assert "estoring" not in said
    assert tag(site) == old_tag
    assert (runs(site), points(site)) == (old_runs, old_points)
    assert site.sql("SELECT to_regclass('of_the_next_version') IS NULL") == "t"
    wait_until_ready(site)
    app.write_text(whole)


def test_a_version_that_works_stays(site: Site, with_a_migration: Path) -> None:
    old_tag, old_runs = tag(site), runs(site)
    commit(site, "A version that works")
    said = site.run("make", "--no-print-directory", "deploy-upgrade")
    assert tag(site) != old_tag
    assert f"{tag(site)} runs" in said
    assert runs(site) == old_runs
    assert site.sql("SELECT to_regclass('of_the_next_version') IS NOT NULL") == "t"
