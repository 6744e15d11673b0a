"""`make deploy-init`: writes `.env` with fresh secrets and what fits this host. Asks nothing, overwrites nothing.

Any variable of docker-compose.yml that is set in the environment is written down too, so that a site can say
`BASIN_TLS_PORT=8443 make deploy-init`; COMPOSE_PROFILES=cpu,tls chooses the profiles.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from docker import settings_file, version

DEFAULT_PROFILES = "gpu"
MEBI = 1 << 20
RESERVED_MEBIBYTES = 8 * 1024
"""For the control plane, the Ray head and the system: what trainers may not have of the host's memory."""
LEAST_MEBIBYTES = 2 * 1024
IMAGE_USER = 10_001
"""Of Basin's containers (docker/Dockerfile), user and group."""
HEADER = """\
# Written by `make deploy-init`. It holds the deployment's secrets: keep it, keep it private, back it up.
# docs/deployment.md explains every variable; `docker compose up -d --wait` applies a change.
"""


def values(given: Mapping[str, str], *, root: Path, memory_mebibytes: int, host: str) -> dict[str, str]:
    """What `.env` shall hold; `given` is the environment, of which COMPOSE_ and BASIN_ variables are kept.

    Trainers get the host's memory less 8 GiB, half of that as shared memory at most; both can be changed.
    """
    for_trainers = max(LEAST_MEBIBYTES, memory_mebibytes - RESERVED_MEBIBYTES)
    made = {
        "COMPOSE_PROFILES": DEFAULT_PROFILES,
        "BASIN_TAG": version.tag(root),
        # Not BASIN_REVISION, which containers read from their image: they get all of .env, and would believe it.
        "BASIN_BUILD_REVISION": version.revision(root),
        "BASIN_HOST_NAME": host,
        "BASIN_HOST": ", ".join(dict.fromkeys([host, "localhost"])),
        "BASIN_WORKER_MEMORY": f"{for_trainers}m",
        "BASIN_SHM_SIZE": f"{for_trainers // 2}m",
        **fresh_secrets(),
    }
    kept = {name: value for name, value in given.items() if name.startswith(("BASIN_", "COMPOSE_"))}
    return {**made, **kept}


def fresh_secrets() -> dict[str, str]:
    """By name; letters and digits only, since some stand in addresses."""
    lengths = {
        "BASIN_SECRET": 32,
        "BASIN_POSTGRES_PASSWORD": 24,
        "BASIN_VALKEY_PASSWORD": 24,
        "BASIN_RAY_TOKEN": 32,
        "BASIN_GRAFANA_PASSWORD": 16,
        "BASIN_METRICS_TOKEN": 24,
    }
    return {name: secrets.token_hex(length) for name, length in lengths.items()}


def add_missing_secrets(file: Path) -> list[str]:
    """Gives `.env` the secrets that a later version needs and it lacks; returns their names. Raises OSError."""
    kept = settings_file.read(file)
    missing = {name: value for name, value in fresh_secrets().items() if not kept.get(name)}
    if missing:
        settings_file.change(file, missing)
    return list(missing)


def host_memory_mebibytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Of this machine; 0 where it cannot be read."""
    try:
        kibibytes = next(line.split()[1] for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
    except (OSError, StopIteration, IndexError):
        return 0
    return int(kibibytes) * 1024 // MEBI


def initialise(root: Path, given: Mapping[str, str]) -> str:
    """Writes `.env` and the folder for data; returns what to do next. Raises FileExistsError."""
    made = values(given, root=root, memory_mebibytes=host_memory_mebibytes(), host=socket.gethostname() or "localhost")
    text = HEADER + "".join(f"{name}={value}\n" for name, value in made.items())
    settings_file.write_new(root / ".env", text)
    theirs = "BASIN_DATA" in made or _make_data_folder(root / "data")
    return (
        f"Wrote .env (profiles: {made['COMPOSE_PROFILES']}). Next:\n"
        "  docker compose up -d --wait     builds the images the first time, which takes a while\n"
        "  make deploy-token               prints the first admin's token, once"
    ) + ("" if theirs else f"\n  sudo chown {IMAGE_USER}:{IMAGE_USER} data     lets people upload data sets")


def _make_data_folder(folder: Path) -> bool:
    """Whether containers may write there. One that is there already stays whose it is."""
    try:
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, IMAGE_USER, IMAGE_USER)
    except FileExistsError:
        pass
    return folder.stat().st_uid == IMAGE_USER


def main() -> int:
    try:
        print(initialise(version.ROOT, os.environ))
    except FileExistsError:
        sys.stderr.write(
            ".env is there already and holds the secrets of a deployment, so it stays as it is: edit it, or move it"
            " away if its database is to be left behind.\n"
        )
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f".env was not written: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
