"""Decisions of the API that need no database: buckets, validity, best values, what fits, credentials, stored text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from api.db.tables import Attempt
from api.runs.capacity import Node, never_fits
from api.runs.credentials import (
    attempt_token,
    launch_code,
    session_cookie,
    token_id_of,
)
from api.runs.documents import MAX_DEPTH, sha256_of_document, storable_text, unstorable
from api.runs.latest import with_step
from api.runs.metrics import bucket_width
from api.runs.storage import ensure_proof, is_checkpoint_path
from api.runs.validity import valid_ranges
from trainer.contract.spec import Resources

SECRET = SecretStr("a secret of many many characters")


class TestBucketWidth:
    @given(st.integers(0, 2**53), st.integers(0, 2**53), st.integers(2, 10_000))
    def test_it_is_the_smallest_power_of_two_that_fits(self, a: int, b: int, most: int) -> None:
        first, last = sorted((a, b))
        width = bucket_width(first, last, most)

        def buckets(width: int) -> int:
            return last // width - first // width + 1

        assert width & (width - 1) == 0
        assert buckets(width) <= most
        assert width == 1 or buckets(width // 2) > most


class TestValidRanges:
    @staticmethod
    def attempt(number: int, resume: int | None, until: int | None, *, claimed: bool = True) -> Attempt:
        return Attempt(
            number=number,
            claimed_at=datetime.now(UTC) if claimed else None,
            resume_step=resume,
            valid_until_step=until,
        )

    @pytest.mark.parametrize(
        ("attempts", "expected"),
        [
            ([(1, 0, None)], [(1, -1, None)]),
            ([(1, 0, 20), (2, 20, None)], [(1, -1, 20), (2, 20, None)]),
            ([(1, 0, 20), (2, 20, 20), (3, 20, None)], [(1, -1, 20), (3, 20, None)]),
            ([(1, 0, 10), (2, 20, 10), (3, 10, None)], [(1, -1, 10), (3, 10, None)]),
            ([(1, 0, 0), (2, 0, None)], [(2, -1, None)]),
        ],
    )
    def test_every_step_belongs_to_one_attempt(
        self, attempts: list[tuple[int, int, int | None]], expected: list[tuple[int, int, int | None]]
    ) -> None:
        ranges = valid_ranges([self.attempt(*each) for each in reversed(attempts)])
        assert [(r.attempt_number, r.after_step, r.until_step) for r in ranges] == expected

    def test_an_attempt_that_was_never_claimed_has_no_steps(self) -> None:
        assert valid_ranges([self.attempt(1, None, None, claimed=False)]) == []


class TestBestValues:
    def test_lower_higher_neither(self) -> None:
        latest: dict[str, Any] = {}
        for step, (loss, top1, alpha) in enumerate([(2, 1, 5), (1, 3, 9), (3, 2, 1)], start=1):
            latest = with_step(latest, step, {"train_loss": loss, "train_top1": top1, "alpha": alpha})
        assert latest["train_loss"] == {"step": 3, "value": 3, "best": 1, "best_step": 2}
        assert latest["train_top1"] == {"step": 3, "value": 2, "best": 3, "best_step": 2}
        assert latest["alpha"] == {"step": 3, "value": 1, "best": None, "best_step": None}

    def test_a_number_that_is_not_finite_is_never_the_best(self) -> None:
        latest = with_step({}, 1, {"train_loss": -math.inf})
        latest = with_step(latest, 2, {"train_loss": math.nan})
        assert latest["train_loss"] == {"step": 2, "value": None, "best": None, "best_step": None}
        assert with_step(latest, 3, {"train_loss": 4.0})["train_loss"]["best"] == 4.0

    def test_the_first_of_equals_stays(self) -> None:
        latest = with_step(with_step({}, 1, {"train_loss": 4.0}), 2, {"train_loss": 4.0})
        assert latest["train_loss"]["best_step"] == 1


class TestNeverFits:
    @pytest.mark.parametrize(
        ("workers", "gpus", "nodes", "path"),
        [
            (1, 0, [], None),
            (99, 1, [], None),
            (4, 0, [(2, 0), (2.5, 0)], None),
            (5, 0, [(2, 0), (2.9, 0)], "spec.resources.workers"),
            (1, 1, [(2, 0)], "spec.resources.gpus_per_worker"),
            (2, 1, [(1, 1), (1, 1)], None),
            (3, 1, [(64, 1), (64, 1)], "spec.resources.workers"),
            (1, 0, [(0, 0)], "spec.resources.workers"),
        ],
    )
    def test_by_whole_slots_of_known_nodes(
        self, workers: int, gpus: int, nodes: list[tuple[float, float]], path: str | None
    ) -> None:
        known = [Node(host="h", cpus=cpus, gpus=gpu) for cpus, gpu in nodes]
        problem = never_fits(Resources(workers=workers, gpus_per_worker=gpus), known)
        assert (problem.path if problem else None) == path


class TestCredentials:
    def test_each_kind_is_its_own(self) -> None:
        made = {
            launch_code(SECRET, "a"),
            launch_code(SECRET, "b"),
            attempt_token(SECRET, "a", "p").removeprefix("attempt_"),
            attempt_token(SECRET, "a", "q").removeprefix("attempt_"),
            launch_code(SecretStr("another secret"), "a"),
        }
        assert len(made) == 5
        assert {len(each) for each in made} == {64}

    def test_the_same_process_gets_the_same_token(self) -> None:
        assert attempt_token(SECRET, "a", "p") == attempt_token(SECRET, "a", "p")

    def test_a_cookie_stands_for_its_token_until_it_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cookie = session_cookie(SECRET, 7)
        assert token_id_of(SECRET, cookie) == 7
        assert token_id_of(SecretStr("another secret"), cookie) is None
        assert token_id_of(SECRET, cookie.replace("7", "8", 1)) is None
        monkeypatch.setattr("api.runs.credentials.time.time", lambda: 9e9)
        assert token_id_of(SECRET, cookie) is None


class TestDocuments:
    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("abc"), st.lists))
    def test_plain_json_is_storable(self, document: Any) -> None:
        assert unstorable(document) is None

    @pytest.mark.parametrize(
        ("document", "path"),
        [
            ({"a": ["x", "\0"]}, "a.1"),
            ({"a": {"b": "\ud800"}}, "a.b"),
            ({"a": math.nan}, "a"),
            ({"x\0": 1}, "(key)"),
        ],
    )
    def test_the_place_is_named(self, document: Any, path: str) -> None:
        problem = unstorable(document)
        assert problem is not None
        assert problem.path == path

    def test_a_tree_too_deep(self) -> None:
        tree: Any = 1
        for _ in range(MAX_DEPTH + 1):
            tree = [tree]
        problem = unstorable(tree)
        assert problem is not None
        assert "deep" in problem.allowed

    def test_the_digest_is_of_the_content(self) -> None:
        assert sha256_of_document({"a": 1, "b": 2}) == sha256_of_document({"b": 2, "a": 1})
        assert sha256_of_document({"a": 1}) != sha256_of_document({"a": "1"})

    @given(st.text())
    def test_stored_text_never_holds_what_the_database_refuses(self, text: str) -> None:
        stored = storable_text(text)
        assert unstorable(stored) is None
        assert stored == text or "\0" in text


class TestStorage:
    @pytest.mark.parametrize(
        ("path", "good"),
        [
            ("runs/r/checkpoints/step-00000001", True),
            ("runs/s/checkpoints/step-00000001", False),
            ("/runs/r/checkpoints/step-00000001", False),
            ("runs/r/checkpoints/..", False),
            ("runs/r/checkpoints/../x", False),
            ("runs/r/checkpoints", False),
            ("runs/r/checkpoints/a\0b", False),
            ("", False),
        ],
    )
    def test_a_checkpoint_lies_in_its_runs_folder(self, path: str, good: bool) -> None:
        assert is_checkpoint_path(path, "r") is good

    def test_the_proof_is_made_once(self, tmp_path: Any) -> None:
        first = ensure_proof(tmp_path / "new")
        assert len(first) == 32
        assert ensure_proof(tmp_path / "new") == first
        assert [path.name for path in (tmp_path / "new").iterdir()] == [".basin-storage"]
