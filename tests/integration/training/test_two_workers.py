"""Two gloo processes against one: the same global batch gives the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.contract.metrics import DETERMINISTIC, PHASES
from trainer.datasets.order import EndlessOrder, plan_batches

LOOKSAM = {"name": "looksam", "rho": 0.1, "k": 5}


def weights_of(folder: Path, item: int, rank: int) -> list[torch.Tensor]:
    return torch.load(folder / str(item) / f"weights-{rank}.pt", weights_only=True)


def assert_same_bits(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert len(a) == len(b) > 0
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def deterministic(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in DETERMINISTIC}


def poisoned_step(spec, image: int) -> int:
    """Steps completed when the image first turns up, in rank 1's half of the batch as it should for this test."""
    order = EndlessOrder(100, spec.seed)
    plan = plan_batches(spec, 2)
    for step in range(spec.steps):
        for rank in range(2):
            if image in order.between(*plan.positions(step, rank, 0)):
                assert rank == 1, "choose another image"
                return step + 1
    raise AssertionError("the image never turns up")


def test_initial_weights_reach_both_ranks_and_so_does_what_is_wrong_with_them(two_ranks, run, small_spec):
    source = run(small_spec(seed=1, steps=3)).folder
    model = {**small_spec().model.model_dump(mode="json"), "init_from": {"checkpoint": str(source)}}
    spec = small_spec(precision="fp64", model=model, resources={"workers": 2}, steps=5)
    deeper = {**model, "arguments": {**model["arguments"], "depth": 2}}
    unfit = small_spec(model=deeper, resources={"workers": 2}, steps=5)
    gone = small_spec(model={**model, "init_from": {"folder": str(source / "none")}}, resources={"workers": 2}, steps=5)
    folder, answers = two_ranks([{"spec": each.model_dump(mode="json")} for each in (spec, unfit, gone)])
    first, second = (weights_of(folder, 0, rank) for rank in range(2))
    assert_same_bits(first, second)
    alone = run(small_spec(precision="fp64", model=model, steps=5))
    for a, b in zip(first, alone.weights.values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)  # only the order of sums differs, as below
    for item, reason, words in ((1, "spec_rejected_by_trainer", "do not fit"), (2, "data_unreadable", "is not there")):
        one, other = (answer[item] for answer in answers)
        assert one == other
        assert one["reason"] == reason
        assert words in one["detail"]


def test_two_workers(two_ranks, run, small_spec, tmp_path):
    """One test, since one pair of processes serves all of it."""
    methods = [{"name": "none"}, {"name": "sam"}, LOOKSAM]
    specs = [small_spec(precision="fp64", method=method, resources={"workers": 2}, steps=20) for method in methods]
    accumulating = small_spec(precision="fp64", method=LOOKSAM, resources={"workers": 2}, steps=20, micro_batch_size=4)
    stopping = small_spec(method=LOOKSAM, resources={"workers": 2}, steps=20)
    batchnorm = small_spec(model={"name": "test_resnet"}, method={"name": "sam"}, resources={"workers": 2}, steps=4)
    order = EndlessOrder(100, 0)
    plan = plan_batches(stopping, 2)
    image = int(order.between(*plan.positions(2, 1, 0))[0])  # first seen in step 3, by rank 1 alone
    assert poisoned_step(stopping, image) == 3

    items = [{"spec": spec.model_dump(mode="json")} for spec in [*specs, accumulating, stopping, batchnorm]]
    items.append({"spec": stopping.model_dump(mode="json"), "stop_at": 6})
    items.append({"spec": stopping.model_dump(mode="json"), "poison": image})
    items.append({"spec": stopping.model_dump(mode="json"), "stop_at": 1})
    saved = tmp_path / "ranks" / "6" / "checkpoints" / "step-00000007"
    items.append({"spec": stopping.model_dump(mode="json"), "resume": [str(saved)]})
    folder, (first, second) = two_ranks(items)

    for item in range(len(items)):
        assert_same_bits(weights_of(folder, item, 0), weights_of(folder, item, 1))  # whatever happened

    one = [run(small_spec(precision="fp64", method=method, steps=20)) for method in methods]
    for item, whole in [*enumerate(one), (3, one[2])]:
        expected = list(whole.weights.values())
        assert first[item]["evaluations"] == whole.outcome.gradient_evaluations
        for a, b in zip(weights_of(folder, item, 0), expected, strict=True):
            # The bar for two workers: only the order of sums differs. Found: below 1e-13.
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        for step, values in whole.deterministic_points.items():
            for name, value in values.items():
                # Found: at most 4e-14, for the loss rise, a small difference of two losses.
                assert first[item]["points"][str(step)][name] == pytest.approx(value, rel=1e-11, abs=1e-12), (
                    step,
                    name,
                )
    assert second[0]["points"] == {}, "only rank 0 tells"
    for values in first[2]["points"].values():
        if "step_seconds" in values:
            phases = {phase: values[f"{phase}_seconds"] for phase in PHASES}
            assert phases["communication"] > 0
            # Means of differences of one clock's readings, of some 1e5 s at 1e-16: a few 1e-11 s each.
            assert sum(phases.values()) <= values["step_seconds"] + 1e-9

    # Both stop at the step that rank 0's wish reached, though rank 1 wished for it all along.
    assert [(answer[6]["reason"], answer[6]["step"]) for answer in (first, second)] == [("cancelled_by_user", 7)] * 2
    # One rank's NaN ends both, naming the step, with the weights of before it: those after two good steps.
    assert first[7]["reason"] == second[7]["reason"] == "loss_not_finite"
    assert "of step 3 was not finite" in first[7]["detail"]
    assert first[7]["detail"] == second[7]["detail"]
    assert_same_bits(weights_of(folder, 7, 1), weights_of(folder, 8, 1))
    # 20 = 7 + resume + 13, bit for bit.
    assert_same_bits(weights_of(folder, 9, 1), weights_of(folder, 4, 1))
    later = {step: deterministic(values) for step, values in first[4]["points"].items() if int(step) > 7}
    assert {step: deterministic(values) for step, values in first[9]["points"].items()} == later


def test_layerwise_methods_lamb_and_the_yardstick(two_ranks, run, small_spec):
    common = {"precision": "fp64", "steps": 12, "evaluation": {"sharpness_radius": 0.05}}
    look = {"name": "look_layersam", "rho": 0.05, "k": 5}
    lamb = {"name": "lamb", "lr": 0.05, "max_grad_norm": 1.0}
    adamw = {"name": "adamw", "lr": 0.003}
    # The first with sharpness over 100 images in passes of 16 or 32, 50 a rank: the last passes are smaller.
    changes = [
        {"method": look, "optimizer": adamw},
        {"method": {**look, "layerwise": "asam_dual", "alpha": "fresh_ratio"}, "optimizer": lamb},
        {"method": {"name": "layersam", "rho": 0.05, "layerwise": "literal"}, "optimizer": adamw},
    ]
    specs = [small_spec(**common, **change, resources={"workers": 2}) for change in changes]
    folder, (first, second) = two_ranks([{"spec": spec.model_dump(mode="json")} for spec in specs])
    for item, change in enumerate(changes):
        assert_same_bits(weights_of(folder, item, 0), weights_of(folder, item, 1))
        whole = run(small_spec(**common, **change))
        assert first[item]["evaluations"] == whole.outcome.gradient_evaluations
        for a, b in zip(weights_of(folder, item, 0), whole.weights.values(), strict=True):
            # The bar for two workers: only the order of sums differs.
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        for step, values in whole.deterministic_points.items():
            for name, value in values.items():
                found = first[item]["points"][str(step)][name]
                assert found == pytest.approx(value, rel=1e-11, abs=1e-12), (step, name)
        assert {"sharpness", "training_set_loss"} <= whole.deterministic_points[12].keys()
        times = [values["cpu_seconds"] for values in first[item]["points"].values() if "cpu_seconds" in values]
        assert 0 < times[0] < times[-1]
    assert second[0]["points"] == {}


def test_an_ascent_of_each_rank_is_one_of_each_micro_batch_on_fewer(two_ranks, run, small_spec):
    """M7, `per_rank`: two ranks are one process over two micro-batches. And what is sent over the wire, counted."""
    common = {"precision": "fp64", "steps": 11, "optimizer": {"name": "adamw", "lr": 0.003}}
    methods = [
        {"name": "sam", "rho": 0.1},
        {"name": "looksam", "rho": 0.1, "k": 5, "alpha": 0.3},
        {"name": "look_layersam", "rho": 0.05, "k": 5, "layerwise": "literal"},
    ]
    items = [
        {"spec": small_spec(**common, method=method, resources={"workers": 2}).model_dump(mode="json")}
        for method in [{**method, "perturbation": "per_rank"} for method in methods] + [methods[1], {"name": "none"}]
    ]
    folder, (first, _) = two_ranks(items)
    for item, method in enumerate(methods):
        assert_same_bits(weights_of(folder, item, 0), weights_of(folder, item, 1))
        whole = run(small_spec(**common, method={**method, "perturbation": "per_microbatch"}, micro_batch_size=16))
        assert first[item]["evaluations"] == whole.outcome.gradient_evaluations
        for a, b in zip(weights_of(folder, item, 0), whole.weights.values(), strict=True):
            # The bar for two workers: only the order of sums differs.
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    synced = run(small_spec(**common, method=methods[1]))
    different = zip(weights_of(folder, 1, 0), synced.weights.values(), strict=True)
    assert any((a - b).abs().max() > 1e-9 for a, b in different), "smaller batches for the ascent are another method"

    elements = sum(value.numel() for value in weights_of(folder, 0, 0))
    messages = [[size for size in answer["all_reduced"] if size >= elements] for answer in first]
    # SAM of its own ascents sends g_s alone; LookSAM needs g and g_s at the refreshes, steps 1, 6 and 11, in all modes.
    assert [len(sizes) for sizes in messages] == [11, 14, 14, 14, 11]
    assert {size - elements for sizes in messages for size in sizes} == {5}, "five numbers ride with each"


def test_another_world_size_goes_on_with_the_same_batch_and_refreshes(two_ranks, run, small_spec, tmp_path):
    fields = {"precision": "fp64", "method": LOOKSAM, "checkpoint": {"every_steps": 7}}
    spec = small_spec(**fields, steps=12, resources={"workers": 2}, micro_batch_size=16)
    asked = iter(range(100))
    start = run(spec, folder=tmp_path / "start", stop=lambda: next(asked) == 6)
    saved = tmp_path / "start" / "checkpoints" / "step-00000007"
    assert start.saved().direction is not None
    _, (first, _) = two_ranks([{"spec": spec.model_dump(mode="json"), "resume": [str(saved)]}])
    # 7 steps with refreshes at 0 and 5, then 5 with the forced one at 7 and that of the calendar at 10.
    assert (first[0]["step"], first[0]["evaluations"]) == (12, 7 + 2 + 5 + 2)
