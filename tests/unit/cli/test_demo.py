"""The demo: its specs, how much runs at a time, and what it says of numbers of every kind."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from benchmarks.demo_regime.__main__ import REGIME
from cli.demo.meaning import CAVEAT, sentences
from cli.demo.own_stack import runs_at_once
from cli.demo.results import Row, reasons, row_of, table
from cli.demo.story import METHODS, SPECS, WORKERS
from cli.spec_file import check, read_spec
from tests.unit.cli.test_comparison import run

ADAMW = Row(method="AdamW", top1=95.0, validation_loss=0.2, training_loss=0.001, passes=200, cpu_seconds=10, rise=0.02)
SAM = Row(method="SAM", top1=96.0, validation_loss=0.15, training_loss=0.01, passes=400, cpu_seconds=20, rise=0.01)
LOOK = Row(method="LookSAM k=5", top1=95.5, validation_loss=0.17, training_loss=0.005, passes=240, rise=0.012)
LAYER = Row(method="Look-LayerSAM k=5", top1=95.2, validation_loss=0.18, training_loss=0.004, passes=240, rise=0.016)


def said(*rows: Row) -> str:
    return "\n".join(sentences(rows))


def test_the_specs_differ_in_their_method_only_and_are_the_regime_that_was_asked_for() -> None:
    specs = [check(read_spec(str(SPECS / f"{method}.yaml"))) for method in METHODS]
    assert [spec.method.name for spec in specs] == ["none", "sam", "looksam", "look_layersam"]
    assert [getattr(spec.method, "k", None) for spec in specs] == [None, 1, 5, 5]
    assert len({spec.model_dump_json(exclude={"method"}) for spec in specs}) == 1
    spec = specs[0]
    assert spec.data.model_dump()["train_size"] == spec.global_batch_size == 256
    assert (spec.resources.workers, spec.evaluation.sharpness_radius) == (WORKERS, 0.05)


def test_rho_was_chosen_in_the_regime_of_the_specs() -> None:
    aside = {"method", "seed", "resources", "checkpoint", "logging"}
    [demo, sweep] = [
        check(spec).model_dump(exclude=aside) for spec in (read_spec(str(SPECS / "adamw.yaml")), copy.deepcopy(REGIME))
    ]
    assert demo["evaluation"].pop("every_epochs") < sweep["evaluation"].pop("every_epochs")
    assert demo == sweep


@pytest.mark.parametrize(("gib", "at_once"), [(64, 4), (8, 4), (7.9, 2), (4, 2), (3.9, 1), (0.5, 1)])
def test_memory_decides_how_many_runs_train_at_a_time(gib: float, at_once: int) -> None:
    assert runs_at_once(gib, runs=4, workers=2) == at_once


def test_a_flatter_minimum_is_named_with_what_it_cost() -> None:
    told = said(ADAMW, SAM, LOOK, LAYER)
    assert "The flattest minimum is SAM's, with a loss rise of 0.01, against 0.02 of AdamW" in told
    assert "It took 400 passes: 2 times AdamW's 200." in told
    assert "LookSAM k=5 reaches 80% with 60% of the passes; Look-LayerSAM k=5 reaches 40% with 60%" in told
    assert "SAM with 96.00 %, 1.00 points above AdamW: 4 of about 360 images" in told
    assert "learnt its training images by heart" in told
    assert told.endswith(CAVEAT)


def test_a_look_method_that_is_the_flattest_is_priced_against_both() -> None:
    told = said(ADAMW, SAM, replace(LOOK, rise=0.005))
    assert "The flattest minimum is LookSAM k=5's" in told
    assert "It took 240 passes: 1.2 times AdamW's 200 and 0.6 times SAM's 400." in told
    assert "LookSAM k=5 reaches 150%" in told


def test_when_nothing_is_flatter_than_adamw_it_says_so() -> None:
    told = said(ADAMW, replace(SAM, rise=0.03), replace(LOOK, rise=0.025))
    assert "here no sharpness-aware method found a flatter one than AdamW alone" in told
    assert "SAM itself is not flatter than AdamW" in told
    assert "reaches" not in told


def test_ties_are_called_ties() -> None:
    assert "equally flat minima" in said(ADAMW, replace(SAM, rise=0.0201), replace(LOOK, rise=0.0199))
    told = said(ADAMW, SAM, replace(LOOK, rise=0.0101))
    assert "0.01 (LookSAM k=5 is about equal)" in told
    told = said(ADAMW, replace(SAM, rise=0.0195), replace(LOOK, rise=0.04))
    assert "hardly flatter than AdamW's" in told


def test_a_method_that_is_sharper_than_adamw_reaches_none() -> None:
    assert "Look-LayerSAM k=5 reaches none with 60%" in said(ADAMW, SAM, replace(LAYER, rise=0.05))


def test_a_loss_rise_that_is_not_positive_makes_no_nonsense() -> None:
    told = said(replace(ADAMW, rise=0.0), replace(SAM, rise=0.0), replace(LOOK, rise=-1e-9))
    assert "nan" not in told
    assert "inf" not in told


def test_validation_is_told_as_it_is() -> None:
    assert "no method beats AdamW's 97.00 %" in said(replace(ADAMW, top1=97.0), SAM)
    assert "all are equal, 96.00 %" in said(replace(ADAMW, top1=96.0), SAM)
    assert "no method beats AdamW's 96.00 %" in said(replace(ADAMW, top1=96.0), SAM, LOOK)


def test_adamw_that_does_not_overfit_is_not_said_to() -> None:
    assert "does not overfit here" in said(replace(ADAMW, training_loss=0.3, validation_loss=0.4), SAM)


def test_training_losses_that_are_far_apart_are_pointed_out() -> None:
    assert "The training losses differ 10 times" in said(ADAMW, SAM)
    assert "losses differ" not in said(ADAMW, replace(SAM, training_loss=0.0012))
    assert "losses differ" not in said(ADAMW, replace(SAM, training_loss=0.0))
    assert "losses differ" not in said(ADAMW, replace(SAM, rise=None))


def test_what_was_not_measured_is_not_spoken_of() -> None:
    told = said(*(Row(method=method) for method in METHODS.values()))
    assert "nothing can be said about flatness" in told
    assert "top-1" not in told
    assert "None" not in told
    told = said(Row(method="AdamW"), SAM, LOOK)
    assert "The flattest minimum is SAM's, with a loss rise of 0.01. It took 400 passes." in told
    assert "None" not in told
    assert "against" not in told


def test_a_failed_run_keeps_its_row_and_says_why() -> None:
    good = run("a", {"validation_top1": 95.0, "sharpness": 0.01})
    bad = run("b", name="SAM", status="failed", sentence="The loss was not finite.", detail="step 3")
    rows = [row_of("AdamW", good), row_of("SAM", bad)]
    assert [str(cell) for cell in table(rows, [good, bad]).columns[0].cells] == ["AdamW", "SAM failed"]
    assert reasons([good, bad]) == ["SAM failed: The loss was not finite. step 3"]
    assert reasons([run("c", name="n", status="cancelled")]) == ["n cancelled: no reason"]
