"""What the SAM doctor says of two ranks: that they climbed alike, or that they did not."""

from __future__ import annotations

import re

SAM = {"name": "sam", "rho": 0.1, "k": 2}


def test_ranks_that_moved_alike_and_ranks_that_did_not(two_ranks, small_spec):
    def item(method, **beside):
        spec = small_spec(method=method, resources={"workers": 2}, steps=8)
        return {"spec": spec.model_dump(mode="json"), **beside}

    look, per_rank = {**SAM, "name": "looksam"}, {**SAM, "perturbation": "per_rank"}
    # Longer by a thousandth of a percent: eps has the right size on both ranks, and still it is not the same.
    skewed = [item(method, skew=1e-5) for method in (SAM, look)]
    items = [item(SAM), item(look), item(per_rank), *skewed]
    _, (first, second) = two_ranks(items)

    def warnings(number: int) -> list[str]:
        codes = [code for code, _ in first[number]["notices"]]
        return [code.removeprefix("sam_doctor_warns_") for code in codes if "warns" in code]

    def said(number: int) -> str:
        [text] = [text for code, text in first[number]["notices"] if code == "sam_doctor"]
        return text

    assert [warnings(number) for number in range(3)] == [[], [], []]
    assert re.search(r"(\d) of \1 checks hold", said(0))
    assert "2 ranks moved alike" in said(0)
    assert "2 ranks moved alike" in said(1)
    assert "moved" not in said(2), "each rank climbs its own gradient there"
    for number in (3, 4):
        assert warnings(number) == ["ranks"], "once, and of nothing else"
        [text] = [text for code, text in first[number]["notices"] if code.endswith("warns_ranks")]
        assert text.startswith("2 ranks moved apart. ")
        assert first[number]["reason"] == "completed", "it is a warning"
        # d is summed over the ranks, so that they go on alike: it is the ascent that differs.
        assert first[number]["after_each_step"] == second[number]["after_each_step"]
    assert all(answer["notices"] == [] for answer in second), "only rank 0 tells"
