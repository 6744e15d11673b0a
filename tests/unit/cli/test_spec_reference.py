"""docs/spec.md says what the contract says."""

from __future__ import annotations

from cli.spec_reference import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make generate`"


def test_every_field_has_a_row_with_its_meaning() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 70
    for name in ("rho", "alpha", "k", "layerwise", "loader_workers", "sharpness_radius"):
        meanings = [row.rsplit("|", 2)[1].strip() for row in rows if row.startswith(f"| `{name}`")]
        assert meanings, name
        assert all(meanings), name
