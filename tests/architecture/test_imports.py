"""Who may import whom: the linter for what is written, fresh processes for what is really loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = "{'torch', 'ray', 'timm', 'sklearn'}"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_imports_point_one_way() -> None:
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "module",
    ["api.app", "worker.app", "worker.tasks", "cli.main", "trainer.contract.spec", "trainer.contract.reports"],
)
def test_importing_the_control_side_loads_no_torch_ray_or_timm(module: str) -> None:
    result = run_python(f"import {module}, sys; loaded = {HEAVY} & set(sys.modules); assert not loaded, loaded")
    assert result.returncode == 0, result.stderr


def test_the_contract_loads_pydantic_and_the_standard_library_only() -> None:
    code = (
        "import sys, trainer.contract.spec, trainer.contract.reports, trainer.contract.metrics\n"
        "import trainer.contract.problems\n"
        "ours = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "allowed = {'trainer', 'pydantic', 'pydantic_core', 'annotated_types', 'typing_extensions',"
        " 'typing_inspection', '__main__', 'sitecustomize', 'usercustomize'}\n"
        "extra = {m for m in ours - allowed if not m.startswith('_')}\n"
        "assert not extra, extra"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_the_driver_of_a_ray_job_does_not_load_torch() -> None:
    result = run_python("import trainer.main, sys; assert 'torch' not in sys.modules; assert 'timm' not in sys.modules")
    assert result.returncode == 0, result.stderr


def _writes_to_status(path: Path) -> list[int]:
    """Lines that assign `.status` or name `status` as a keyword of `.values(...)`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [node.lineno for t in targets if isinstance(t, ast.Attribute) and t.attr == "status"]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values":
            found += [node.lineno for k in node.keywords if k.arg == "status"]
    return found


def test_a_runs_status_is_written_in_one_place() -> None:
    offenders = {
        f"{path.relative_to(ROOT)}:{line}"
        for package in ("api", "worker")
        for path in (ROOT / package).rglob("*.py")
        if path != ROOT / "api/runs/status.py" and "migrations" not in path.parts
        for line in _writes_to_status(path)
    }
    assert not offenders, f"only api/runs/status.py may write a run's status: {sorted(offenders)}"


def test_the_lint_for_status_sees_a_write(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("run.status = 'failed'\nupdate(Run).values(status='failed')\nprint(run.status)\n")
    assert _writes_to_status(tmp_path / "a.py") == [1, 2]
