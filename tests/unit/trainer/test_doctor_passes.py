"""The SAM doctor where passes or whole refreshes are left out, or are too many: what goes wrong really does."""

from __future__ import annotations

import pytest

from trainer import passes
from trainer import step as steps

SAM = {"name": "sam", "k": 2}


def texts(done, item: str) -> list[str]:
    """The warnings about one thing."""
    return [text for code, text, _ in done.recorder.doctor if code == f"sam_doctor_warns_{item}"]


@pytest.mark.parametrize(("change", "seen"), [(-1, "2 + 1 passes of a worker"), (+1, "2 + 3 passes of a worker")])
@pytest.mark.parametrize("name", ["sam", "looksam"])
def test_a_second_gradient_over_another_number_of_micro_batches(run, small_spec, monkeypatch, name, change, seen):
    """Over a part of the batch it would be cheaper, and another algorithm."""

    def sweep(step, *, perturbed=False):
        for micro_batch in range(step.num_micro_batches + (change if perturbed else 0)):
            step.forward_backward(micro_batch % step.num_micro_batches, perturbed=perturbed)

    spec = small_spec(method={**SAM, "name": name}, micro_batch_size=16)
    assert texts(run(spec), "passes") == []
    monkeypatch.setattr(passes, "sweep", sweep)
    done = run(spec)
    [text] = texts(done, "passes")
    assert text.startswith(f"{seen}. There should be 2 each")
    assert done.outcome.step == 12, "it is a warning"


@pytest.mark.parametrize("name", ["sam", "looksam"])
def test_a_refresh_that_is_left_out(run, small_spec, monkeypatch, name):
    is_refresh = steps.is_refresh
    monkeypatch.setattr(steps, "is_refresh", lambda method, step: step != 6 and is_refresh(method, step))
    done = run(small_spec(method={**SAM, "name": name}))
    [text] = texts(done, "calendar")
    assert text.startswith("5 of 12 steps took a second gradient; the calendar has 6. ")
    assert "sam_doctor_calendar" not in [code for code, _, _ in done.recorder.doctor], "and it is not praised as well"
