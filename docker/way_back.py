"""How a failed upgrade goes back to the old version, by itself or by hand.

1 `.env`      names the old version again
2 database    where the new version has migrated it: whoever writes is stopped, and the new version takes its
              migrations back, which loses nothing but what only it knows. Where that fails, the backup is restored,
              and what came after it is lost
3 services    the old version comes up, by its own docker-compose.yml
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from docker import settings_file
from docker.compose import Compose, Failed

WRITERS = ("api", "celery", "beat", "ray-head", "ray-worker", "ray-worker-cpu")
"""Services that write to the database or the storage; trainers run in the last ones. Compose stops those of another
profile, too, when they are named, and minds none that is not there."""
KEPT = ("postgres", "valkey", "proxy", "prometheus", "grafana")
"""All others are stopped, also those that only the new version has."""
WAIT_SECONDS = 900
"""For all services to become healthy: a large database may recover, and Ray starts slowly."""


@dataclass(frozen=True)
class Change:
    """From which version to which."""

    old_tag: str
    old_revision: str
    new_tag: str
    new_revision: str
    backup: str
    """Folder of the backup, inside the volume of backups."""

    @property
    def old_names(self) -> dict[str, str]:
        """What `.env` says of the old version."""
        return {"BASIN_TAG": self.old_tag, "BASIN_BUILD_REVISION": self.old_revision}

    @property
    def new_names(self) -> dict[str, str]:
        return {"BASIN_TAG": self.new_tag, "BASIN_BUILD_REVISION": self.new_revision}


@dataclass
class WayBack:
    """To the old version of one upgrade."""

    root: Path
    change: Change
    old: Compose
    new: Compose
    migration: str
    """At which the old version's database was."""
    backup_at: float
    """Unix seconds: what came later is not in the backup."""
    _database_is_back: bool = field(default=False, init=False)

    def go(self) -> int:
        """Exit status: 1 the old version runs, 2 it does not, with what to do by hand. Ctrl-C ends it with 2."""
        try:
            settings_file.change(self.root / ".env", self.change.old_names)
            self._take_the_database_back()
            self._database_is_back = True
            say(f"Starting {self.change.old_tag}.")
            self.old.run("up", "--detach", "--wait", f"--wait-timeout={WAIT_SECONDS}", "--remove-orphans")
        except (Failed, OSError) as error:
            say(f"{why(error)}, so {self.change.old_tag} could not be brought back by itself.\n{self._by_hand()}")
            return 2
        except KeyboardInterrupt:
            say(f"Interrupted on the way back to {self.change.old_tag}.\n{self._by_hand()}")
            return 2
        say(f"{self.change.old_tag} runs again. What failed is above, and in `docker compose logs`.")
        return 1

    def _take_the_database_back(self) -> None:
        now = current_migration(self.old)
        if now == self.migration:
            say(f"The database is still at migration {now}, so it stays as it is.")
            return
        say(f"The database is at migration {now} and was at {self.migration}: stopping whoever writes to it.")
        self._stop_writers()
        try:
            self.new.run(*_migrate_back(self.migration))
        except Failed as error:
            say(
                f"{error}, so the migration cannot be taken back. Restoring {self.change.backup}: what people and runs"
                f" have written since {_utc(self.backup_at)} is lost; runs go on from their checkpoints of then."
            )
            restore = ("basin", "admin", "restore", "--replace", "--yes", self.change.backup)
            self.old.run("run", "--rm", "-T", "admin", *restore)
        else:
            say(f"The database is at migration {self.migration} again, and nothing is lost.")

    def _stop_writers(self) -> None:
        """Of either version: each knows only its own services."""
        for project in (self.new, self.old):
            known = project.answer("--profile", "*", "config", "--services").split()
            running = project.answer("--profile", "*", "ps", "--services").split()
            writers = [name for name in running if name in known and name not in KEPT]
            if writers:
                project.run("stop", *writers)

    def _by_hand(self) -> str:
        """What is left to do, as commands."""
        change, image = self.change, f"BASIN_TAG={self.change.new_tag}"
        checkout = [f"git checkout {change.old_revision}"] if change.old_revision else []
        if self._database_is_back:
            intro = f"The database is as {change.old_tag} needs it. `docker compose ps` and `logs` say more; then:"
            return _listed(intro, [*checkout, "docker compose up -d --wait"])
        intro = f"`docker compose ps` and `logs` say more. With BASIN_TAG={change.old_tag} in .env:"
        return "\n".join(
            [
                _listed(
                    intro,
                    [
                        f"docker compose stop {' '.join(WRITERS)}",
                        f"{image} docker compose {' '.join(_migrate_back(self.migration))}",
                        *checkout,
                        "docker compose up -d --wait",
                    ],
                ),
                f"If the second fails, restore the backup instead, without what came since {_utc(self.backup_at)}:",
                f"  docker compose run --rm admin basin admin restore --replace {change.backup}",
            ]
        )


def current_migration(compose: Compose) -> str:
    query = "SELECT version_num FROM alembic_version"
    return compose.answer("exec", "-T", "postgres", "psql", "-U", "basin", "-d", "basin", "-qAtc", query)


def why(error: Failed | OSError) -> str:
    """For the beginning of a sentence."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def say(sentence: str) -> None:
    print(f"upgrade: {sentence}", flush=True)


def _migrate_back(revision: str) -> tuple[str, ...]:
    # By itself: PostgreSQL runs already, and is to stay as it is.
    return ("run", "--rm", "--no-deps", "-T", "migrate", "python", "-m", "api.db.migrate", "--to", revision)


def _listed(intro: str, commands: list[str]) -> str:
    return "\n".join([intro, *(f"  {command}" for command in commands)])


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
