"""The arms that benchmarks/step_cost times are put together by hand from the trainer's parts: that they still train."""

from __future__ import annotations

import pytest
import torch

from benchmarks.step_cost.arms import basin
from benchmarks.step_cost.problem import SIZES, Problem
from trainer.contract.methods import SAM, LookSAM, NoMethod

CPU = torch.device("cpu")


def after_three_steps(make):
    problem = Problem(SIZES["quick"], CPU)
    take = make(problem)
    for _ in range(3):
        take()
    return [weight.detach().clone() for weight in problem.weights]


@pytest.mark.parametrize(
    "method", [SAM(name="sam", rho=0.05), LookSAM(name="looksam", rho=0.05, k=1)], ids=lambda method: method.name
)
def test_a_doctor_that_looks_at_every_step_changes_nothing_of_them(method):
    alone = after_three_steps(lambda problem: basin(problem, method))
    watched = after_three_steps(lambda problem: basin(problem, method, looked_at=True))
    base = after_three_steps(lambda problem: basin(problem, NoMethod()))
    assert all(map(torch.equal, watched, alone))
    assert not all(map(torch.equal, base, alone)), "and the method does something"
