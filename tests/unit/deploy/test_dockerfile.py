"""The images' recipe: linted, and nothing in it that a mirrored or offline site could not replace."""

from __future__ import annotations

import re
import subprocess

import pytest

from docker import init
from tests.unit.deploy.rendered import ROOT, tool

DOCKERFILE = ROOT / "docker/Dockerfile"
TARGETS = ("control", "trainer", "proxy")


def lines() -> list[str]:
    """Instructions, each in one line, without comments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def stages() -> dict[str, list[str]]:
    """The instructions of each stage by its name; `FROM` is the first."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
        if name:
            found.setdefault(name, []).append(line)
    return found


def test_hadolint_has_nothing_to_say() -> None:
    ended = subprocess.run(
        [tool("hadolint"), "--config", "docker/hadolint.yaml", str(DOCKERFILE)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "")


def test_every_base_image_is_an_argument_with_a_pinned_default() -> None:
    defaults = dict(match.groups() for line in lines() if (match := re.match(r"ARG (\w+_IMAGE)=(\S+)", line)))
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in defaults.values()), defaults
    compose = (ROOT / "docker-compose.yml").read_text()
    for name, body in stages().items():
        base = body[0].split()[1]
        if match := re.fullmatch(r"\$\{(\w+)\}", base):
            assert match[1] in defaults, name
            assert f"{match[1]}: ${{BASIN_{match[1]}:-{defaults[match[1]]}}}" in compose, "one default in both files"
        else:
            assert base in stages(), f"{name} stands on {base}, which is no variable"


def test_every_file_it_copies_exists_and_reaches_the_build() -> None:
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    for line in lines():
        if not line.startswith("COPY ") or "--from=" in line:
            continue
        for source in line.split()[1:-1]:
            assert (ROOT / source).exists(), line
            assert source.partition("/")[0] in let_through, line
    mounted = re.findall(r"type=bind,source=([\w/]+),", DOCKERFILE.read_text())
    assert mounted
    assert all((ROOT / source).exists() for source in mounted)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_ends_as_somebody_without_rights_and_is_labelled(target: str) -> None:
    body = stages()[target]
    assert [line for line in body if line.startswith("USER ")][-1] == "USER 10001:10001"
    labels = " ".join(line for line in body if line.startswith("LABEL "))
    for label in ("title", "version", "revision", "source"):
        assert f"org.opencontainers.image.{label}=" in labels


@pytest.mark.parametrize("image", ["control", "trainer"])
def test_what_an_image_tells_its_containers_nothing_in_the_settings_overrides(image: str) -> None:
    told = {name for line in stages()[image] if line.startswith("ENV ") for name in re.findall(r"\b(BASIN_\w+)=", line)}
    assert told == {"BASIN_REVISION"}
    written = set(init.values({}, root=ROOT, memory_mebibytes=0, host="gpu-1"))
    named = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert not told & (written | named), "control containers get all of .env"


@pytest.mark.parametrize(("image", "lock"), [("control", "control.lock"), ("trainer", "trainer.lock")])
def test_packages_come_from_a_lock_file_with_hashes(image: str, lock: str) -> None:
    installs = [line for line in stages()[image] if "uv pip sync" in line]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert f"requirements/{lock}" in installs[0]


def versions(lock: str) -> set[str]:
    text = (ROOT / "requirements" / lock).read_text()
    return {line.partition(" ")[0] for line in text.splitlines() if re.match(r"[a-z0-9]", line)}


@pytest.mark.parametrize("lock", ["control.lock", "trainer.lock", "build.lock"])
def test_an_images_packages_are_those_that_the_tests_run_with(lock: str) -> None:
    assert versions(lock) - versions("dev.lock") == set(), "run `make lock`"


def test_the_control_image_has_no_torch_and_the_trainer_has() -> None:
    heavy = {"torch", "timm", "ray", "torchvision"}
    assert not heavy & {version.partition("==")[0] for version in versions("control.lock")}
    assert heavy <= {version.partition("==")[0] for version in versions("trainer.lock")}


def test_no_package_index_is_written_into_the_recipe() -> None:
    for name in ("Dockerfile", "packages.sh"):
        text = (ROOT / "docker" / name).read_text()
        assert not re.search(r"https?://(?!deb\.debian\.org)", text), name
        assert "index-url" not in text.lower(), name
