"""`make deploy-upgrade`: takes a running deployment to this checkout's version, and back by itself if that fails.

    1 images    built (or pulled, with PULL=1) while the old version goes on
    2 backup    database and storage, by the old version, while it goes on
    3 switch    `.env` names the new version; migration, then all services, then their health checks
    4 check     the API says that runs can be taken and trained

A failure of 1 or 2 changes nothing. After a failure of 3 or 4 `.env` names the old version again, the backup is
restored if the migration had changed the database, and the old version comes up, by its own docker-compose.yml.
Runs that train meanwhile go on from their last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from docker import init, settings_file, version
from docker.compose import Compose, Failed

KEPT_WHILE_RESTORING = ("postgres", "valkey", "proxy", "prometheus", "grafana")
"""All others write to the database or the storage."""
PREVIOUS_FILE = "docker-compose.previous.yml"
WAIT_SECONDS = 900
"""For all services to become healthy: a large database may recover, and Ray starts slowly."""
READY_TRIES, READY_PAUSE_SECONDS = 30, 5.0
BACKUPS = "/srv/basin/backups"


@dataclass(frozen=True)
class Change:
    """From which version to which."""

    old_tag: str
    old_revision: str
    new_tag: str
    new_revision: str
    backup: str
    """Folder of the backup, inside the volume of backups."""


class Upgrade:
    """One upgrade. `compose` makes a project for an environment and a compose file (None: the checkout's)."""

    def __init__(
        self, root: Path, change: Change, *, compose: Callable[[Mapping[str, str], Path | None], Compose], pull: bool
    ) -> None:
        self._root, self._change, self._compose, self._pull = root, change, compose, pull
        # What the shell says goes before .env.
        self._new = compose({"BASIN_TAG": change.new_tag, "BASIN_BUILD_REVISION": change.new_revision}, None)
        self._old = compose(
            {"BASIN_TAG": change.old_tag, "BASIN_BUILD_REVISION": change.old_revision}, previous_file(root, change)
        )

    def run(self) -> int:
        """Exit status: 0 upgraded, 1 the old version runs, 2 neither, with what to do by hand."""
        change = self._change
        say(f"From {change.old_tag} to {change.new_tag}.")
        if added := init.add_missing_secrets(self._root / ".env"):
            say(f"New in .env: {', '.join(added)}.")
        try:
            say("1/4 Images: " + ("pulling" if self._pull else "building") + "; the old version goes on.")
            self._new.run("pull" if self._pull else "build")
            say(f"2/4 Backup: {change.backup}; the old version goes on.")
            self._old.run("run", "--rm", "-T", "admin", "basin", "admin", "backup", change.backup)
            migration = self._migration(self._old)
        except Failed as error:
            say(f"{error}. Nothing was changed: {change.old_tag} still runs.")
            return 1
        try:
            self._switch()
            self._check()
        except Failed as error:
            say(f"{error}. Going back to {change.old_tag}.")
            return self._go_back(migration)
        say(f"{change.new_tag} runs. The backup stays in {change.backup}; `docker image prune` removes old images.")
        return 0

    def _switch(self) -> None:
        say("3/4 Switch: migration, then all services, until they are healthy.")
        names = {"BASIN_TAG": self._change.new_tag, "BASIN_BUILD_REVISION": self._change.new_revision}
        settings_file.change(self._root / ".env", names)
        self._new.run("up", "--detach", "--wait", f"--wait-timeout={WAIT_SECONDS}", "--remove-orphans")

    def _check(self) -> None:
        say("4/4 Check: can runs be taken and trained?")
        for tries_left in reversed(range(READY_TRIES)):
            try:
                return self._new.run("exec", "-T", "api", "python", "/opt/basin/health.py", "ready")
            except Failed:
                if tries_left == 0:
                    raise
                time.sleep(READY_PAUSE_SECONDS)

    def _go_back(self, migration: str) -> int:
        change = self._change
        try:
            names = {"BASIN_TAG": change.old_tag, "BASIN_BUILD_REVISION": change.old_revision}
            settings_file.change(self._root / ".env", names)
            now = self._migration(self._old)
            if now == migration:
                say(f"The database is still at migration {now}, so it stays as it is.")
            else:
                say(f"The database is at migration {now}, was at {migration}: restoring {change.backup}.")
                self._restore()
            say(f"Starting {change.old_tag}.")
            self._old.run("up", "--detach", "--wait", f"--wait-timeout={WAIT_SECONDS}")
        except Failed as error:
            say(
                f"{error}, so {change.old_tag} could not be brought back by itself. .env names it again. Look at"
                " `docker compose ps` and `docker compose logs`; the backup is whole:\n"
                f"  docker compose stop api celery beat\n"
                f"  docker compose run --rm admin basin admin restore --replace {change.backup}\n"
                f"  docker compose up -d --wait"
            )
            return 2
        say(f"{change.old_tag} runs again. What failed is above, and in `docker compose logs`.")
        return 1

    def _restore(self) -> None:
        running = self._old.answer("ps", "--services").split()
        self._old.run("stop", *(name for name in running if name not in KEPT_WHILE_RESTORING))
        self._old.run(
            "run", "--rm", "-T", "admin", "basin", "admin", "restore", "--replace", "--yes", self._change.backup
        )

    @staticmethod
    def _migration(compose: Compose) -> str:
        query = "SELECT version_num FROM alembic_version"
        return compose.answer("exec", "-T", "postgres", "psql", "-U", "basin", "-d", "basin", "-qAtc", query)


def previous_file(root: Path, change: Change) -> Path | None:
    """The old version's docker-compose.yml, written beside the new one; None where git does not know it."""
    if not change.old_revision:
        return None
    asked = ["git", "-C", str(root), "show", f"{change.old_revision}:docker-compose.yml"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return None
    if found.returncode != 0:
        return None
    file = root / PREVIOUS_FILE
    file.write_text(found.stdout, encoding="utf-8")
    return file


def planned(root: Path, *, now: float, wanted_tag: str = "") -> Change:
    """What this checkout asks for; `wanted_tag` names images made elsewhere. Raises ValueError where nothing is to do.

    `now`: Unix seconds, for the backup's name.
    """
    try:
        kept = settings_file.read(root / ".env")
    except OSError as error:
        raise ValueError(
            f".env cannot be read ({error.strerror}): where there is no deployment yet, `make deploy-init` starts one"
        ) from None
    old_tag, new_tag = kept.get("BASIN_TAG", ""), wanted_tag or version.tag(root)
    if not old_tag:
        raise ValueError(".env holds no BASIN_TAG, so it is not known what runs: write the tag of its images there")
    if old_tag == new_tag:
        raise ValueError(f"{new_tag} runs already: get the new version first (git pull), or name one with TAG=...")
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(now))
    return Change(
        old_tag=old_tag,
        old_revision=kept.get("BASIN_BUILD_REVISION", ""),
        new_tag=new_tag,
        new_revision=version.revision(root),
        backup=f"{BACKUPS}/{stamp}-before-{new_tag}",
    )


def say(sentence: str) -> None:
    print(f"upgrade: {sentence}", flush=True)


def main() -> int:
    root = version.ROOT
    try:
        change = planned(root, now=time.time(), wanted_tag=os.environ.get("TAG", ""))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1

    def project(environment: Mapping[str, str], file: Path | None) -> Compose:
        return Compose(root, file=file, environment=environment)

    try:
        return Upgrade(root, change, compose=project, pull=os.environ.get("PULL") == "1").run()
    finally:
        (root / PREVIOUS_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
