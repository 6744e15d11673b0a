"""What the demo's numbers mean, in sentences computed from them, whatever they are. Pure: rows in, sentences out."""

from __future__ import annotations

from collections.abc import Sequence

from cli.demo.results import RADIUS, Row

BASE, FULL = "AdamW", "SAM"
"""What the others are compared with: no ascent at all, and an ascent at every step."""
ABOUT_EQUAL = 0.05
"""Loss rises that differ by less than this share of the larger are called about equal."""
MEMORISED = 0.05
"""A training loss below this, a fifth or less of the validation loss, is called overfitting."""
LOSSES_DIFFER = 1.5
"""Training losses further apart than this factor are pointed out."""
VALIDATION_IMAGES = 360
"""A fifth of the digits' 1,797."""
CAVEAT = (
    "One seed is not evidence: such differences are often smaller than those between two seeds. Repeat with others, "
    "for example `basin run clone ID --set seed=2`, before you believe any of it."
)


def sentences(rows: Sequence[Row]) -> list[str]:
    """Paragraphs for a person; what was not measured is not spoken of."""
    return [
        f"Loss rise is the yardstick, the same for all: how much the training loss grows when the final weights move "
        f"{RADIUS:g} up its gradient. Lower is flatter. Passes are forward-backward passes over a batch: the price.",
        *_overfitting(_named(rows, BASE)),
        *_flatness(rows),
        *_shares(rows),
        *_losses_differ(rows),
        *_generalisation(rows),
        CAVEAT,
    ]


def _named(rows: Sequence[Row], method: str) -> Row | None:
    return next((row for row in rows if row.method == method), None)


def _overfitting(base: Row | None) -> list[str]:
    if base is None or base.training_loss is None or base.validation_loss is None:
        return []
    losses = f"{BASE}'s training loss ends at {_small(base.training_loss)}, its validation loss at "
    losses += _small(base.validation_loss)
    if base.training_loss < MEMORISED and base.training_loss * 5 <= base.validation_loss:
        return [f"{losses}: it has learnt its training images by heart, which is where flatness could matter."]
    return [f"{losses}: it does not overfit here, so flatness has little to mend."]


def _flatness(rows: Sequence[Row]) -> list[str]:
    """Which minimum is the flattest, and what it cost."""
    measured = [(row.rise, row) for row in rows if row.rise is not None]
    if len(measured) < 2:
        return ["The loss rise of fewer than two runs is known, so nothing can be said about flatness."]
    lowest, flattest = min(measured, key=lambda pair: pair[0])
    tied = [row.method for rise, row in measured if row is not flattest and _about_equal(rise, lowest)]
    if len(tied) == len(measured) - 1:
        return ["All runs ended in about equally flat minima, so the extra passes bought no flatness here."]
    told = f"The flattest minimum is {flattest.method}'s, with a loss rise of {_small(lowest)}"
    if tied:
        told += f" ({' and '.join(tied)} {'is' if len(tied) == 1 else 'are'} about equal)"
    base = _named(rows, BASE)
    if flattest.method == BASE:
        return [f"{told}: here no sharpness-aware method found a flatter one than {BASE} alone."]
    if BASE in tied:
        return [f"{told}: hardly flatter than {BASE}'s, so the extra passes bought next to nothing here."]
    if base is not None and base.rise is not None:
        told += f", against {_small(base.rise)} of {BASE}"
    return [f"{told}. {_price(flattest, base, _named(rows, FULL))}".rstrip()]


def _about_equal(one: float, other: float) -> bool:
    return abs(one - other) <= ABOUT_EQUAL * max(abs(one), abs(other))


def _price(row: Row, base: Row | None, full: Row | None) -> str:
    """The passes of the run against those of AdamW and SAM; "" where they are not known."""
    if not row.passes:
        return ""
    against = [
        f"{row.passes / other.passes:.2g} times {other.method}'s {other.passes:,.0f}"
        for other in (base, full)
        if other is not None and other is not row and other.passes
    ]
    return f"It took {row.passes:,.0f} passes" + (f": {' and '.join(against)}." if against else ".")


def _shares(rows: Sequence[Row]) -> list[str]:
    """How much of SAM's flattening each of the others reached, at what part of its passes."""
    base, full = _named(rows, BASE), _named(rows, FULL)
    if base is None or full is None or base.rise is None or full.rise is None or not full.passes:
        return []
    gain = base.rise - full.rise
    if gain <= ABOUT_EQUAL * abs(base.rise):
        return [f"{FULL} itself is not flatter than {BASE} here, so there is no gain for the others to keep."]
    parts = []
    for row in rows:
        if row.method in (BASE, FULL) or row.rise is None or not row.passes:
            continue
        share = (base.rise - row.rise) / gain
        reached = f"{share:.0%}" if share > 0 else "none"
        parts.append(f"{row.method} reaches {reached} with {row.passes / full.passes:.0%} of the passes")
    return [f"Of the flattening that {FULL} brings, {'; '.join(parts)}."] if parts else []


def _losses_differ(rows: Sequence[Row]) -> list[str]:
    """Cross-entropy flattens towards zero, so a loss that is much lower makes any rise smaller."""
    losses = [row.training_loss for row in rows if row.rise is not None and row.training_loss is not None]
    if len(losses) < 2 or min(losses) <= 0 or max(losses) / min(losses) < LOSSES_DIFFER:
        return []
    return [
        f"The training losses differ {max(losses) / min(losses):.2g} times, and the nearer to zero a loss is, the "
        "smaller is any rise: read the two columns together."
    ]


def _generalisation(rows: Sequence[Row]) -> list[str]:
    """The best on images that were not trained on, against AdamW, in images."""
    base = _named(rows, BASE)
    measured = [(row.top1, row) for row in rows if row.top1 is not None]
    if base is None or base.top1 is None or len(measured) < 2:
        return []
    highest = max(top1 for top1, _ in measured)
    best = [row.method for top1, row in measured if top1 == highest]
    images = round((highest - base.top1) / 100 * VALIDATION_IMAGES)
    if len(best) == len(measured):
        return [f"In validation top-1 all are equal, {highest:.2f} %."]
    if BASE in best:
        return [f"In validation top-1 no method beats {BASE}'s {highest:.2f} % here, flatter or not."]
    return [
        f"In validation top-1 the best is {' and '.join(best)} with {highest:.2f} %, {highest - base.top1:.2f} points "
        f"above {BASE}: {images} of about {VALIDATION_IMAGES} images."
    ]


def _small(value: float) -> str:
    return f"{value:.3g}"
