"""Each look at a machine that trains, at one made bad for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainer import host_doctor
from trainer.contract.diagnosis import MARKER, NodeTask
from trainer.host import gpus, service
from trainer.host.all_reduce import all_reduce

DRIVER = gpus.Driver(version="580.1", cuda=(13, 0), count=8)
TORCH = gpus.Torch(cuda="13.0", count=8, available=True, names=("H100",) * 8)


class TestDriver:
    def test_one_that_runs_torchs_cuda_is_fine(self) -> None:
        assert gpus.judge_driver(DRIVER, TORCH, expected=8).verdict == "ok"

    @pytest.mark.parametrize(
        ("driver", "said", "told", "remedy"),
        [
            (DRIVER, replace(TORCH, cuda=None), "built without CUDA", "CUDA builds"),
            (replace(DRIVER, cuda=(12, 8)), TORCH, "for CUDA 12.8, torch for 13.0", "newer driver"),
        ],
    )
    def test_one_that_does_not_is_told(self, driver: gpus.Driver, said: gpus.Torch, told: str, remedy: str) -> None:
        found = gpus.judge_driver(driver, said, expected=8)
        assert (found.verdict, told in found.found, remedy in found.remedy) == ("failed", True, True), found

    def test_where_no_gpu_is_expected_a_torch_without_cuda_is_fine(self) -> None:
        assert gpus.judge_driver(DRIVER, replace(TORCH, cuda=None), expected=0).verdict == "ok"

    @pytest.mark.parametrize(
        ("driver", "told"), [(None, "does not answer (NVML)"), (DRIVER, "libcuda.so.1 is not here")]
    )
    def test_none_is_told_where_gpus_are_expected(self, driver: gpus.Driver | None, told: str) -> None:
        found = gpus.without_driver(driver, expected=8)
        assert (found.verdict, told in found.found, "Container Toolkit" in found.remedy) == ("failed", True, True)
        assert gpus.without_driver(driver, expected=0).verdict == "ok"

    @pytest.mark.parametrize(("given", "least"), [("all", 1), ("0,1", 1), ("void", 0), ("", 0), (None, 0)])
    def test_a_container_that_was_given_gpus_is_expected_to_have_some(
        self, monkeypatch: pytest.MonkeyPatch, given: str | None, least: int
    ) -> None:
        monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
        if given is not None:
            monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", given)
        assert gpus.expected_gpus() == max(least, gpus.gpus_there())

    def test_torch_is_asked_in_a_process_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpus, "TORCH_SECONDS", 600)
        said = gpus.ask_torch()
        assert (said.cuda, said.count) == (torch.version.cuda, torch.cuda.device_count())
        assert said.available is torch.cuda.is_available()

    def test_a_torch_that_does_not_load_is_told_by_its_last_line(self, tmp_path: Path) -> None:
        broken = tmp_path / "python"
        broken.write_text("#!/bin/sh\necho Traceback >&2\necho 'ImportError: libcudart' >&2\nexit 1\n")
        broken.chmod(0o755)
        with pytest.raises(RuntimeError, match=r"^ImportError: libcudart$"):
            gpus.ask_torch(str(broken))


class TestCount:
    def test_as_many_as_expected(self) -> None:
        found = gpus.judge_count(DRIVER, TORCH, expected=8, visible=None)
        assert (found.verdict, found.found) == ("ok", "NVML sees 8, torch 8: H100")

    @pytest.mark.parametrize(
        ("said", "expected", "visible", "verdict", "told"),
        [
            (replace(TORCH, count=7), 8, None, "failed", "8 that torch can use"),
            (replace(TORCH, available=False), 8, None, "failed", "8 that torch can use"),
            (replace(TORCH, count=2), 8, "0,1", "failed", "8, which is what Ray offers"),
            (TORCH, 4, None, "warning", "4 in use"),
            (replace(TORCH, count=4), 4, "0,1,2,3", "ok", ""),
        ],
    )
    def test_torch_against_nvml_and_what_ray_offers(
        self, said: gpus.Torch, expected: int, visible: str | None, verdict: str, told: str
    ) -> None:
        found = gpus.judge_count(DRIVER, said, expected=expected, visible=visible)
        assert (found.verdict, found.needed) == (verdict, told), found


class TestAllReduce:
    def test_two_processes_sum(self) -> None:
        found = all_reduce("gloo", seconds=600)
        assert found.verdict == "ok", found

    def test_a_rank_that_does_not_come_is_told_in_time(self) -> None:
        found = all_reduce("gloo", start=1, seconds=12)
        assert (found.verdict, found.needed) == ("failed", "a sum over 2 processes within 12 s")
        assert "127.0.0.1" in found.remedy

    def test_one_that_cannot_start_says_why(self) -> None:
        found = all_reduce("carrier-pigeon", seconds=600)
        assert (found.verdict, "Unknown backend type" in found.found) == ("failed", True), found


class TestVersions:
    def test_another_ray_than_the_heads(self) -> None:
        found = service.ray_version("2.0.0")
        assert (found.verdict, "2.0.0 at the head" in found.found) == ("failed", True)
        assert service.ray_version(service.installed("ray")).verdict == "ok"

    def test_another_torch_than_the_locks_is_a_warning(self, tmp_path: Path) -> None:
        (tmp_path / "dev.lock").write_text("torch==1.0.0 \\\n    --hash=sha256:0\ntimm==0.1\n")
        found = service.locked_versions(tmp_path)
        assert (found.verdict, "and not 1.0.0" in found.found) == ("warning", True)
        assert service.locked_versions().verdict == "ok"

    def test_an_api_that_does_not_answer(self) -> None:
        found = service.reachable(service.Api("http://127.0.0.1:1"))
        assert (found.verdict, "BASIN_TRAINER_API_URL" in found.remedy) == ("failed", True)


@pytest.fixture
def no_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are tested above, and take long."""
    monkeypatch.setattr(host_doctor, "_sums", lambda _: [])


@pytest.mark.usefixtures("no_sums")
class TestCommand:
    def test_a_job_prints_its_findings_behind_the_marker(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / ".basin-storage").touch()
        (tmp_path / ".doctor-1").mkdir()
        (tmp_path / ".doctor-1" / "api").write_text("nonce")
        task = NodeTask(
            part="node host-a", storage=str(tmp_path), spool=str(tmp_path / "spool"), ray_version="2.0.0",
            probe_folder=".doctor-1", probes={"api": "nonce"}, probe_name="node-host-a",
        )  # fmt: skip
        monkeypatch.setenv("BASIN_DOCTOR", task.model_dump_json())
        assert host_doctor.main([]) == 1
        printed = capsys.readouterr().out
        assert printed.startswith(MARKER)
        found = {each["check"]: each for each in json.loads(printed.removeprefix(MARKER))}
        assert {each["part"] for each in found.values()} == {"node host-a"}
        assert (found["shared storage"]["verdict"], found["Ray"]["verdict"]) == ("ok", "failed")
        assert (tmp_path / ".doctor-1" / "node-host-a").read_text() == "nonce"

    def test_gpus_that_are_expected_and_not_there_fail_before_torch_is_loaded(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        if gpus.gpus_there():
            pytest.skip("this machine has GPUs")
        loaded: list[bool] = []
        monkeypatch.setattr(gpus, "ask_torch", lambda: loaded.append(True))
        assert host_doctor.main(["--gpus", "2", "--json"]) == 1
        found = {each["check"]: each for each in json.loads(capsys.readouterr().out)}
        assert (found["driver"]["verdict"], found["GPUs"]["verdict"]) == ("failed", "failed")
        assert "Container Toolkit" in found["driver"]["remedy"]
        assert not loaded


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small /dev/shm")
def test_a_machine_with_the_shared_memory_of_a_container() -> None:
    """64 MB, which is what a container gets that is not told otherwise: in a mount namespace of its own."""
    look = (
        "from trainer.contract import folders; found = folders.shared_memory(2);"
        "print(found.verdict.value, found.found, found.needed)"
    )
    command = f'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec {sys.executable} -c "{look}"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("failed /dev/shm holds 64 MiB 3 GiB"), done.stdout
