"""Each kind of fault once, in a run: it ends `succeeded`, with the points and weights of an undisturbed one.

`make faults` plays many more, at other moments.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.integration.faults import verdict
from tests.integration.faults.campaign import Campaign, Case
from tests.integration.faults.ground import Ground
from tests.integration.faults.kinds import KINDS
from tests.integration.faults.watching import Points

NUMBER = 0
"""One for all, so that they share the undisturbed run of its seed."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    prepared = Ground.prepare(tmp_path_factory.mktemp("ground"))
    try:
        yield prepared
    finally:
        prepared.clear()


@pytest.fixture(scope="module")
def campaign(ground: Ground) -> Campaign:
    return Campaign(ground)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_run_survives(kind, ground: Ground, campaign: Campaign) -> None:
    if kind.name == "full disk" and ground.disk is None:
        pytest.skip("only root can mount a small disk")
    assert campaign.play(Case(kind, NUMBER)).violations == []


class TestTheVerdict:
    """What would be found if something were wrong."""

    POINTS: Points = {"train_loss": [(1, 2.0), (2, 1.0), (3, 0.5)]}  # noqa: RUF012 - only read

    @pytest.mark.parametrize(
        ("points", "found"),
        [
            ({"train_loss": [(1, 2.0), (3, 0.5)]}, "1 points lost [2], 0 doubled"),
            ({"train_loss": [(1, 2.0), (2, 1.0), (2, 1.0), (3, 0.5)]}, "0 points lost [], 1 doubled"),
            ({"train_loss": [(1, 2.0), (2, 1.0000001), (3, 0.5)]}, "another value at step 2"),
            ({}, "metrics differ: ['train_loss']"),
        ],
    )
    def test_names_what_differs(self, points: Points, found: str) -> None:
        [sentence] = verdict.different(points, self.POINTS)
        assert found in sentence

    def test_has_nothing_to_say_of_the_same(self) -> None:
        assert verdict.different(dict(self.POINTS), self.POINTS) == []

    def test_compares_weights_bit_by_bit(self) -> None:
        ones = {"a": torch.ones(2), "b": torch.ones(1)}
        assert verdict.different_weights({"a": torch.ones(2), "b": torch.ones(1)}, ones) == []
        assert verdict.different_weights({"a": torch.ones(2), "b": torch.ones(1) + 1e-7}, ones) != []
        assert verdict.different_weights({"a": torch.ones(2)}, ones) != []
