"""M7: several gloo processes against one: the same global batch gives the same training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer import checkpoint
from trainer.contract.metrics import DETERMINISTIC, PHASES
from trainer.datasets.order import EndlessOrder, plan_batches

LOOKSAM = {"name": "looksam", "rho": 0.1, "k": 5}


def weights_of(folder: Path, item: int, rank: int) -> list[torch.Tensor]:
    return torch.load(folder / str(item) / f"weights-{rank}.pt", weights_only=True)


def assert_same_bits(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
    assert len(a) == len(b) > 0
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def assert_alike_after_each_step(answers: Sequence[dict[str, Any]], steps: int) -> None:
    """The ranks' weights, bit for bit, by the fingerprints that each took after every step."""
    one, *others = (answer["after_each_step"] for answer in answers)
    assert len(set(one)) == len(one) == steps, "and every step moves them"
    assert others == [one] * len(others)


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


def test_m7_initial_weights_reach_both_ranks_and_so_does_what_is_wrong_with_them(two_ranks, run, small_spec):
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


def test_m7_two_workers_are_one_process(two_ranks, run, small_spec, tmp_path):
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
    for item, steps in enumerate([20, 20, 20, 20, 20, 4, 7]):
        assert_alike_after_each_step([first[item], second[item]], steps)

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


def test_m7_layerwise_methods_lamb_and_the_yardstick(two_ranks, run, small_spec):
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


def test_m7_m11_an_ascent_of_each_rank_is_one_of_each_micro_batch_on_fewer(two_ranks, run, small_spec):
    """`per_rank`: two ranks are one process over two micro-batches. And what is sent over the wire, counted."""
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
    folder, (first, second) = two_ranks(items)
    for item, method in enumerate(methods):
        # The ascents differ, and the weights come back by copying: subtracting would let the replicas drift.
        assert_alike_after_each_step([first[item], second[item]], 11)
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


def test_m7_four_workers_are_one_process(ranks, run, small_spec):
    """Synced, and with an ascent of each: four ranks are one process over four micro-batches."""
    common = {"precision": "fp64", "steps": 7, "optimizer": {"name": "adamw", "lr": 0.003}}
    look = {"name": "looksam", "rho": 0.1, "k": 3, "alpha": 0.3}
    pairs = [
        (look, small_spec(**common, method=look)),
        ({**look, "perturbation": "per_rank"},
         small_spec(**common, method={**look, "perturbation": "per_microbatch"}, micro_batch_size=8)),
    ]  # fmt: skip
    specs = [small_spec(**common, method=method, resources={"workers": 4}) for method, _ in pairs]
    folder, answers = ranks([{"spec": spec.model_dump(mode="json")} for spec in specs], size=4)
    for item, (_, alone) in enumerate(pairs):
        assert_alike_after_each_step([answer[item] for answer in answers], 7)
        whole = run(alone)
        assert answers[0][item]["evaluations"] == whole.outcome.gradient_evaluations == 7 + 3
        for a, b in zip(weights_of(folder, item, 3), whole.weights.values(), strict=True):
            # The bar for two workers: only the order of float64 sums differs.
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_m9_another_world_size_goes_on_with_the_same_batch_and_refreshes(two_ranks, run, small_spec, tmp_path):
    """From one worker to two and from two to one: the weights of one worker that is made to refresh there."""
    fields = {"precision": "fp64", "method": LOOKSAM, "checkpoint": {"every_steps": 7}}
    spec = small_spec(**fields, steps=12, resources={"workers": 2}, micro_batch_size=16)
    asked = iter(range(100))
    start = run(spec, folder=tmp_path / "start", stop=lambda: next(asked) == 6)
    of_one, of_two = (tmp_path / name / "checkpoints" / "step-00000007" for name in ("start", "ranks/0"))
    document = {"spec": spec.model_dump(mode="json")}
    folder, (first, _) = two_ranks([{**document, "stop_at": 6}, {**document, "resume": [str(of_one)]}])

    without = replace(start.saved(), direction=None)
    assert start.saved().direction is not None
    path, _ = checkpoint.save(without, tmp_path / "without", before_rename=lambda step, place: None)
    expected, fewer = run(spec, resume=[path]), run(spec, resume=[of_two])
    # 7 steps with refreshes at 0 and 5, then 5 with the forced one at 7 and that of the calendar at 10.
    assert expected.outcome.gradient_evaluations == 7 + 2 + 5 + 2
    assert (first[1]["step"], first[1]["evaluations"]) == (12, 7 + 2 + 5 + 2)
    assert (fewer.outcome.step, fewer.outcome.gradient_evaluations) == (12, 7 + 2 + 5 + 2)
    undisturbed = run(spec)
    for a, b, c, never in zip(
        weights_of(folder, 1, 0), fewer.weights.values(), expected.weights.values(), undisturbed.weights.values(),
        strict=True,
    ):  # fmt: skip
        # The bar for two workers: only the order of float64 sums differs.
        torch.testing.assert_close(a, c, rtol=0, atol=1e-12)
        torch.testing.assert_close(b, c, rtol=0, atol=1e-12)
        assert (never - c).abs().max() > 1e-9, "a forced refresh shows"


def test_m10_inf_on_one_rank_alone_is_skipped_by_all(two_ranks, small_spec):
    """fp16, k = 3, five steps: refreshes at steps 0 and 3, so that rank 1's passes 5 and 6 are those of step 3."""
    method = {"name": "looksam", "rho": 0.1, "k": 3}
    spec = small_spec(precision="fp16", method=method, resources={"workers": 2}, steps=5)
    item = {"spec": spec.model_dump(mode="json"), "loss_scale": 1024.0}
    spoilt = [{**item, "spoil": {"rank": 1, "passes": passes}} for passes in ([5], [6], [4], [5, 7])]
    folder, (first, second) = two_ranks([item, *spoilt])
    for number in range(5):
        one, other = first[number], second[number]
        assert one["attempts"] == other["attempts"], "all skip, and hold the same weights, direction, alpha and c"
        assert_alike_after_each_step([one, other], 5)
        assert (one["reason"], one["step"]) == ("completed", 5)

    def taken(number: int) -> list[tuple[int, int, bool]]:
        attempts = first[number]["attempts"]
        return [(attempt["step"], attempt["evaluations"], attempt["is_finite"]) for attempt in attempts]

    start = [(0, 2, True), (1, 1, True), (2, 1, True)]
    assert taken(0) == [*start, (3, 2, True), (4, 1, True)]
    assert taken(1) == [*start, (3, 1, False), (3, 2, True), (4, 1, True)], "no second pass follows"
    assert taken(2) == [*start, (3, 2, False), (3, 2, True), (4, 1, True)]
    assert taken(3) == [*start[:2], (2, 1, False), start[2], (3, 2, True), (4, 1, True)]
    assert taken(4) == [*start, (3, 1, False), (3, 2, False), (3, 2, True), (4, 1, True)]
    for number in range(1, 5):
        for attempt in first[number]["attempts"]:
            if not attempt["is_finite"]:
                before, after = attempt["before"], attempt["after"]
                assert after["weights"] == before["weights"], "bit for bit"
                assert after["numbers"] == before["numbers"], "alpha, c and the counter of weak refreshes"
                # Inf in pass 1: it is kept. In pass 2 its memory has held g: there is none, hence a refresh.
                kept = before["direction"] if attempt["evaluations"] == 1 else None
                assert after["direction"] == kept
                assert before["direction"] is not None
        skips = sum(not attempt["is_finite"] for attempt in first[number]["attempts"])
        assert first[number]["attempts"][-1]["loss_scale"] == 1024.0 / 2**skips
        saved = torch.load(folder / str(number) / "checkpoints" / "step-00000005" / "state.pt", weights_only=True)
        assert {int(moments["step"]) for moments in saved["optimizer"]["state"].values()} == {5}


def test_m10_in_a_fixed_precision_all_ranks_end_with_the_weights_of_before(two_ranks, small_spec):
    """Inf in pass 1 or 2 of the refresh of step 3, on rank 1 alone: nothing moves, on either."""
    method = {"name": "looksam", "rho": 0.1, "k": 3}
    spec = small_spec(method=method, resources={"workers": 2}, steps=5)
    item = {"spec": spec.model_dump(mode="json")}
    spoilt = [{**item, "spoil": {"rank": 1, "passes": [number]}} for number in (5, 6)]
    folder, (first, second) = two_ranks([{**item, "stop_at": 2}, *spoilt])
    assert first[0]["step"] == 3
    for number in (1, 2):
        assert first[number]["reason"] == second[number]["reason"] == "loss_not_finite"
        assert first[number]["detail"] == second[number]["detail"]
        assert "of step 4 was not finite" in first[number]["detail"]
        for answer in (first[number], second[number]):
            last = answer["attempts"][-1]
            assert (last["step"], last["is_finite"]) == (3, False)
            assert last["after"]["weights"] == last["before"]["weights"]
        for rank in range(2):
            assert_same_bits(weights_of(folder, number, rank), weights_of(folder, 0, rank))
