"""Freed memory stays in the process: counted by the page faults of those who take it again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

STEPS = """
import ctypes, resource, sys
from trainer.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def step():
    activations = [libc.malloc(2**20) for _ in range(200)]
    for each in activations:
        ctypes.memset(each, 1, 2**20)
    for each in reversed(activations):
        libc.free(each)

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so")
def test_a_step_that_takes_as_much_as_the_one_before_faults_no_more():
    def faults(how: str) -> int:
        command = [sys.executable, "-c", STEPS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    pages = 5 * 200 * 2**20 // 4096
    assert faults("keep") < pages // 100, "nothing but what Python itself takes"
    assert faults("leave") > pages // 2, "else there is nothing to mend, and the module can go"
