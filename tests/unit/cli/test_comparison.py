"""What differs between runs, and which number is the best."""

from __future__ import annotations

from typing import Any

import pytest

from cli.comparison import MAIN_METRICS, differences, document, numbers
from cli.failure import ExitCode, Failure
from cli.run_compare import page_of, parts_that_fit, spelled, table
from cli.views import RunView
from trainer.contract.metrics import BY_NAME


def run(run_id: str, latest: dict[str, float | tuple[float, float]] | None = None, **more: Any) -> RunView:
    """A run whose metrics are final values, or pairs of final and best."""
    pairs = {name: value if isinstance(value, tuple) else (value, value) for name, value in (latest or {}).items()}
    values = {name: {"step": 1, "value": final, "best": best} for name, (final, best) in pairs.items()}
    document = {"id": run_id, "name": f"run {run_id}", "status": "succeeded", "created_at": "2026-01-01T00:00:00Z"}
    return RunView.model_validate(document | {"latest": values} | more)


def test_equal_fields_are_hidden_and_absent_ones_differ() -> None:
    specs = {
        "a": {"seed": 1, "method": {"name": "none"}, "model": {"name": "m", "arguments": {"depth": 3}}},
        "b": {"seed": 1, "method": {"name": "sam", "rho": 0.1}, "model": {"name": "m", "arguments": {"depth": 4}}},
    }
    assert differences(specs) == {
        "method.name": {"a": "none", "b": "sam"},
        "method.rho": {"b": 0.1},
        "model.arguments.depth": {"a": 3, "b": 4},
    }


def test_numbers_compare_by_value_and_words_by_kind() -> None:
    assert differences({"a": {"x": 1}, "b": {"x": 1.0}}) == {}
    assert set(differences({"a": {"x": 1, "y": None}, "b": {"x": True, "y": "null"}})) == {"x", "y"}
    assert differences({"a": {"x": [1, 2]}, "b": {"x": [2, 1]}}) == {"x": {"a": [1, 2], "b": [2, 1]}}
    assert differences({"a": {"x": {}}, "b": {"x": {"k": 1}}}) == {"x": {"a": {}}, "x.k": {"b": 1}}


def test_the_best_follows_the_catalogues_direction() -> None:
    runs = [
        run("a", {"validation_top1": (90.0, 95.0), "validation_loss": 0.5, "gradient_evaluations": 10.0}),
        run("b", {"validation_top1": (92.0, 93.0), "validation_loss": 0.4, "gradient_evaluations": 20.0}),
    ]
    rows = {(row.metric, row.kind): row for row in numbers(runs, MAIN_METRICS)}
    assert rows["validation_top1", "final"].best == {"b"}
    assert rows["validation_top1", "best"].best == {"a"}
    assert rows["validation_loss", "final"].best == {"b"}
    assert BY_NAME["gradient_evaluations"].direction == "none"
    assert rows["gradient_evaluations", "final"].best == frozenset()
    assert ("sharpness", "final") not in rows


def test_ties_share_the_mark_unless_all_are_equal_and_one_alone_is_not_the_best() -> None:
    three = [run(name, {"sharpness": value}) for name, value in (("a", 0.1), ("b", 0.1), ("c", 0.2))]
    assert numbers(three, ["sharpness"])[0].best == {"a", "b"}
    assert numbers(three[:2], ["sharpness"])[0].best == frozenset()
    assert numbers([run("a", {"sharpness": 0.1}), run("b")], ["sharpness"])[0].best == frozenset()


def test_an_unknown_metric_is_refused_with_those_near_it() -> None:
    with pytest.raises(Failure, match="validation_loss") as caught:
        numbers([run("a"), run("b")], ["validation_los"])
    assert caught.value.exit_code is ExitCode.refused


def test_the_document_holds_the_runs_as_the_api_answers_them() -> None:
    runs = [run("a", {"sharpness": 0.1}, from_a_newer_version=1), run("b", {"sharpness": 0.2})]
    told = document(runs, {"seed": {"a": 1, "b": 2}}, numbers(runs, ["sharpness"]))
    assert told["runs"][0]["from_a_newer_version"] == 1
    assert told["metrics"] == [{"metric": "sharpness", "kind": "final", "values": {"a": 0.1, "b": 0.2}, "best": ["a"]}]


def test_runs_that_do_not_fit_beside_each_other_stand_below() -> None:
    runs = [run(str(number)) for number in range(7)]
    assert [len(part) for part in parts_that_fit(runs, 20, 80)] == [3, 3, 1]
    assert [len(part) for part in parts_that_fit(runs, 20, 10)] == [1] * 7


def test_a_name_with_brackets_is_shown_as_it_is() -> None:
    runs = [run("a", name="[red]x"), run("b")]
    assert table(runs, {}, []).columns[1].header == "\\[red]x"


def test_values_are_spelled_as_in_a_spec() -> None:
    values = {"a": None, "b": True, "c": [1, 2], "d": "auto"}
    assert [spelled(values, key) for key in "abcde"] == ["null", "true", "[1, 2]", "auto", "-"]


def test_the_link_names_the_study_or_the_runs_and_hides_the_token_behind_the_hash() -> None:
    runs = [run("a"), run("b")]
    assert page_of("http://x", runs, None) == "http://x/compare?runs=a,b"
    assert page_of("http://x", runs, "demo 1&2", "t") == "http://x/compare?study=demo%201%262#token=t"
