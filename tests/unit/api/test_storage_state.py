"""What is seen of a storage: its proof, whether it can be written, how full it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.runs.storage import ensure_proof
from api.runs.storage_state import StorageState, storage_state

GIB = 2**30


def test_it_is_read_and_written_and_nothing_is_left_there(tmp_path: Path) -> None:
    proof = ensure_proof(tmp_path)
    state = storage_state(tmp_path)
    assert (state.proof, state.write_error) == (proof, None)
    assert 0 < state.free_bytes < state.size_bytes
    assert [path.name for path in tmp_path.iterdir()] == [".basin-storage"]


def test_one_that_cannot_be_written_says_why() -> None:
    state = storage_state(Path("/proc"))
    assert (state.proof, state.write_error) == (None, "No such file or directory")


def test_one_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage_state(tmp_path / "none")


@pytest.mark.parametrize(
    ("free", "size", "nearly_full"),
    [
        (0.9 * GIB, 1000 * GIB, True),
        (1.1 * GIB, 1000 * GIB, False),
        (0.4 * GIB, 10 * GIB, True),
        (0.6 * GIB, 10 * GIB, False),
    ],
)
def test_it_is_nearly_full_below_a_gibibyte_or_a_twentieth_of_a_small_one(
    free: float, size: float, nearly_full: bool
) -> None:
    state = StorageState(proof="p", write_error=None, free_bytes=int(free), size_bytes=int(size))
    assert state.is_nearly_full is nearly_full
