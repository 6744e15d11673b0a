"""A lab's GPU host, but with CPUs: a clean checkout, Docker, and whoever sits in front of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.stack.ports import choose_ports
from tests.deploy.stand_ins import ROOT, Sources
from tests.integration.faults.watching import Watch

PROJECT = "basin-test-deploy"
SLOTS = 2
SETTINGS = {
    "COMPOSE_PROJECT_NAME": PROJECT,
    "BASIN_BUILD_NETWORK": "host",
    "BASIN_WORKER_SLOTS": str(SLOTS),
    "BASIN_SHM_SIZE": "1g",
    "BASIN_WORKER_MEMORY": "8g",
    # So that what a restart costs is found out sooner.
    "BASIN_LEASE_INTERVAL_SECONDS": "3",
    "BASIN_LEASE_TIMEOUT_SECONDS": "20",
    "BASIN_SILENT_STOP_SECONDS": "30",
}
CAP_SYS_RESOURCE = 1 << 24
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "LANG")
"""Of this shell's variables; others could be settings of a deployment."""


class Site:
    """One deployment in `folder`."""

    def __init__(self, folder: Path, stand_ins: dict[str, str], sources: Sources) -> None:
        self.folder = folder / "basin"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.folder)], check=True)
        ports = choose_ports(("api", "tls", "http"))
        self.api_url = f"http://127.0.0.1:{ports['api']}"
        self.tls_url = f"https://localhost:{ports['tls']}"
        self.ports = ports
        self.token = ""
        self._given = {
            **SETTINGS,
            **limits(),
            **stand_ins,
            "BASIN_BUILD_ENVIRONMENT": str(sources.environment),
            "BASIN_BUILD_CA_CERTIFICATES": str(sources.certificates),
            "BASIN_PORT": str(ports["api"]),
            "BASIN_TLS_PORT": str(ports["tls"]),
            "BASIN_HTTP_PORT": str(ports["http"]),
        }

    def run(self, *command: str, check: bool = True, environment: dict[str, str] | None = None) -> str:
        """A command as a person gives it in the checkout; returns what it prints on standard output."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, **(environment or {})},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert ended.returncode == 0 or not check, f"{' '.join(command)} ended with {ended.returncode}"
        return ended.stdout.strip()

    def initialise(self) -> str:
        return self.run("make", "--no-print-directory", "deploy-init", environment=self._given)

    def compose(self, *arguments: str, check: bool = True) -> str:
        return self.run("docker", "compose", "--profile", "cpu", "--profile", "tls", *arguments, check=check)

    def up(self) -> None:
        self.compose("up", "--detach", "--wait", "--wait-timeout=900")

    def basin(self, *arguments: str) -> str:
        """The command line of this machine, over the published port."""
        program = str(Path(sys.executable).with_name("basin"))
        return self.run(program, *arguments, environment={"BASIN_API_URL": self.api_url, "BASIN_TOKEN": self.token})

    def watch(self) -> Watch:
        return Watch(self.api_url, self.token)

    def containers(self) -> list[dict[str, Any]]:
        """Of the project, those that ended too: names, services, states, networks."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", *ids))
        return found

    def sql(self, query: str) -> str:
        return self.compose("exec", "-T", "postgres", "psql", "-U", "basin", "-d", "basin", "-qAtc", query)

    def clear(self) -> None:
        """Removes all that is of the project, by its name: by its file, what other profiles use would stay."""
        command = ("docker", "compose", "--project-name", PROJECT, "down", "--volumes", "--timeout=20")
        subprocess.run(command, cwd=self.folder.parent, check=False)


def limits() -> dict[str, str]:
    """What to say where not even root may raise limits, as in some virtual machines; there an engine may not either."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    if int(effective, 16) & CAP_SYS_RESOURCE or os.geteuid() != 0:
        return {}
    files, memlock = (resource.getrlimit(which)[1] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK))
    return {"BASIN_WORKER_FILES": str(files), "BASIN_WORKER_MEMLOCK": str(memlock)}


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])
