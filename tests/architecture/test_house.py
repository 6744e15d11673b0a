"""House rules that would rot in prose: file names, file sizes, paths named in the documents, generated files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("README.md", "docs/*.md", "*/README.md", "benchmarks/*/README.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts and not path.parts[-2].startswith(".")
)
TOP_LEVEL = {
    "README.md", "Makefile", "pyproject.toml", "api", "worker", "trainer", "cli", "frontend", "benchmarks", "tests",
    "docs", "requirements", ".ci", ".gitignore", ".dockerignore", "docker", "docker-compose.yml", "LICENSE",
}  # fmt: skip


def tracked() -> list[Path]:
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in out.splitlines()]


def test_nothing_stands_at_the_top_without_a_reason() -> None:
    assert {path.parts[0] for path in tracked()} <= TOP_LEVEL


def test_no_file_name_says_nothing() -> None:
    vague = re.compile(r"^(utils?|helpers?|common|misc|manager|stuff)\.(py|ts|tsx)$")
    assert not [path for path in tracked() if vague.match(path.name)]


def test_no_source_file_outgrows_its_room() -> None:
    def lines(path: Path) -> int:
        return len((ROOT / path).read_text(encoding="utf-8").splitlines())

    sources = [p for p in tracked() if p.suffix in (".py", ".ts", ".tsx") and ".gen." not in p.name]
    long = {str(p): lines(p) for p in sources if (ROOT / p).exists() and lines(p) > 400}
    assert not long, f"files of about 300 lines, 400 at most: {long}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_paths_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(
        re.findall(r"`((?:api|worker|trainer|cli|frontend|benchmarks|tests|docs|requirements)/[\w./-]*)`", text)
    )
    links = {link for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) if "://" not in link}
    missing = {p for p in named if not (ROOT / p).exists()}
    missing |= {link for link in links if not (document.parent / link).exists()}
    assert not missing, f"{document.relative_to(ROOT)} names paths that do not exist: {sorted(missing)}"


def test_the_readme_is_among_the_documents() -> None:
    assert ROOT / "README.md" in DOCUMENTS


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for lock in [*ROOT.glob("requirements/*.lock"), ROOT / "frontend/package-lock.json"]:
        text = lock.read_text(encoding="utf-8")
        assert "sha256:" in text or "sha512-" in text, lock
        assert '"resolved": "http' not in text, lock
        assert not re.search(r"^\s*(--index-url|--extra-index-url|--find-links|-i )", text, re.MULTILINE), lock
