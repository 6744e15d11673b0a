"""`make deploy-upgrade`: takes a running deployment to this checkout's version, and back by itself if that fails.

    1 images    built (or pulled, with PULL=1) while the old version goes on
    2 backup    database and storage, by the old version, while it goes on
    3 switch    `.env` names the new version; migration, then all services, then their health checks
    4 check     the API says that runs can be taken and trained

A failure of 1 or 2 changes nothing. After one of 3 or 4, Ctrl-C included, docker/way_back.py brings the old version up
again. Runs that train meanwhile go on from their last checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from docker import init, settings_file, version
from docker.compose import Compose, Failed
from docker.way_back import WAIT_SECONDS, Change, WayBack, current_migration, say, why

PREVIOUS_FILE = "docker-compose.previous.yml"
READY_TRIES, READY_PAUSE_SECONDS = 30, 5.0
BACKUPS = "/srv/basin/backups"


class Upgrade:
    """One upgrade. `compose` makes a project for an environment and a compose file (None: the checkout's)."""

    def __init__(
        self, root: Path, change: Change, *, compose: Callable[[Mapping[str, str], Path | None], Compose], pull: bool
    ) -> None:
        self._root, self._change, self._pull = root, change, pull
        # What the shell says goes before .env.
        self._new = compose(change.new_names, None)
        self._old = compose(change.old_names, previous_file(root, change))

    def run(self) -> int:
        """Exit status: 0 upgraded, 1 the old version runs, 2 neither, with what to do by hand."""
        change = self._change
        try:
            way_back = self._prepare()
        except (Failed, OSError) as error:
            say(f"{why(error)}. Nothing was changed: {change.old_tag} still runs.")
            return 1
        except KeyboardInterrupt:
            say(f"Interrupted. Nothing was changed: {change.old_tag} still runs.")
            return 1
        try:
            self._switch()
            self._check()
        except (Failed, OSError) as error:
            say(f"{why(error)}. Going back to {change.old_tag}.")
            return way_back.go()
        except KeyboardInterrupt:
            say(f"Interrupted. Going back to {change.old_tag}.")
            return way_back.go()
        say(f"{change.new_tag} runs. The backup stays in {change.backup}; `docker image prune` removes old images.")
        return 0

    def _prepare(self) -> WayBack:
        """Images and backup, beside the old version. Raises Failed or OSError."""
        change = self._change
        say(f"From {change.old_tag} to {change.new_tag}.")
        if added := init.add_missing_secrets(self._root / ".env"):
            say(f"New in .env: {', '.join(added)}.")
        say("1/4 Images: " + ("pulling" if self._pull else "building") + "; the old version goes on.")
        self._new.run("pull" if self._pull else "build")
        say(f"2/4 Backup: {change.backup}; the old version goes on. It says if there is no room to restore it.")
        backup_at = time.time()
        self._old.run("run", "--rm", "-T", "admin", "basin", "admin", "backup", change.backup)
        return WayBack(
            self._root, change, self._old, self._new, migration=current_migration(self._old), backup_at=backup_at
        )

    def _switch(self) -> None:
        say("3/4 Switch: migration, then all services, until they are healthy.")
        settings_file.change(self._root / ".env", self._change.new_names)
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


def previous_file(root: Path, change: Change) -> Path | None:
    """The old version's docker-compose.yml, written beside the new one; None where git does not know it.

    Raises OSError.
    """
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
        raise ValueError(
            f".env names {new_tag} already: get the new version first (git pull), or name one with TAG=... Where an"
            " upgrade was cut off, `docker compose up -d --wait` finishes it"
        )
    stamp = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime(now))
    return Change(
        old_tag=old_tag,
        old_revision=kept.get("BASIN_BUILD_REVISION", ""),
        new_tag=new_tag,
        new_revision=version.revision(root),
        backup=f"{BACKUPS}/{stamp}-before-{new_tag}",
    )


def main() -> int:
    root = version.ROOT

    def project(environment: Mapping[str, str], file: Path | None) -> Compose:
        return Compose(root, file=file, environment=environment)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Like Ctrl-C: it goes back.
    try:
        change = planned(root, now=time.time(), wanted_tag=os.environ.get("TAG", ""))
        return Upgrade(root, change, compose=project, pull=os.environ.get("PULL") == "1").run()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{why(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 1
    finally:
        (root / PREVIOUS_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
