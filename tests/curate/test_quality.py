"""How far raters agree, and who works too fast or in a straight line."""

from __future__ import annotations

import math

import pytest

from preceptor.curate.quality import Vote, agreements, rater_quality, value_of


def test_agreement_counts_items_with_two_raters_only() -> None:
    votes = [
        Vote("r1", "i1", "stars", 5), Vote("r2", "i1", "stars", 5), Vote("r1", "i2", "stars", 1),
        Vote("r2", "i2", "stars", 1), Vote("r1", "i3", "stars", 3),
    ]  # fmt: skip
    (found,) = agreements(votes)
    assert (found.items, found.raters, found.percent, found.alpha) == (2, 2, 1.0, 1.0)


def test_near_misses_of_stars_agree_more_than_opposites() -> None:
    def alpha(second: tuple[float, ...]) -> float:
        first = (1, 2, 4, 5)
        votes = [Vote("r1", str(i), "stars", v) for i, v in enumerate(first)]
        return agreements([*votes, *(Vote("r2", str(i), "stars", v) for i, v in enumerate(second))])[0].alpha

    assert alpha((2, 1, 5, 4)) > alpha((5, 4, 2, 1))


def test_instruments_are_never_mixed() -> None:
    assert agreements([Vote("r1", "i", "stars", 1), Vote("r2", "i", "thumbs", 1)]) == []


@pytest.mark.parametrize(
    ("instrument", "given", "expected"),
    [
        ("stars", {"rating": 4}, 4.0),
        ("thumbs", {"thumb": -1}, -1.0),
        ("comparison", {"outcome": "tie"}, 2.0),
        ("comparison", {"outcome": "cannot_judge"}, None),
        ("comment", {}, None),
        ("stars", {"thumb": 1}, None),
    ],
)
def test_a_judgement_becomes_a_number_on_its_own_scale(
    instrument: str, given: dict[str, object], expected: float | None
) -> None:
    values = {"rating": None, "thumb": None, "outcome": None, **given}
    assert value_of(instrument, **values) == expected  # type: ignore[arg-type]


def test_figures_of_a_rater() -> None:
    votes = [Vote("fast", str(i), "stars", 3, active_ms=100, first_chosen=True) for i in range(10)]
    votes += [Vote("calm", str(i), "stars", 3 if i % 2 else 1, active_ms=8000) for i in range(10)]
    calm, fast = rater_quality(votes, too_fast_ms=2000)
    assert (fast.too_fast, fast.same_value, fast.longest_run, fast.first_chosen) == (1.0, 1.0, 10, 1.0)
    assert (calm.too_fast, calm.same_value, calm.longest_run, calm.first_chosen) == (0.0, 0.5, 1, None)
    assert math.isclose(fast.agreement or 0, 0.5)


def test_a_pattern_is_not_claimed_from_a_few_votes() -> None:
    (found,) = rater_quality([Vote("r", "i", "stars", 3)] * 3, too_fast_ms=2000)
    assert found.same_value is None
    assert found.agreement is None
