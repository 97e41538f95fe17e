"""Judgements without text in, how far raters agree and how carefully each works out.

These figures start a conversation with a clinician; they never exclude anyone by themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preceptor.stats.agreement import gwet_ac, krippendorff_alpha, percent_agreement

Scale = Literal["nominal", "ordinal"]
_SCALES: dict[str, tuple[Scale, tuple[float, ...]]] = {
    "stars": ("ordinal", (1, 2, 3, 4, 5)),
    "thumbs": ("nominal", (-1, 1)),
    "comparison": ("nominal", (0, 1, 2, 3)),
}
_OUTCOMES = {"a": 0.0, "b": 1.0, "tie": 2.0, "both_bad": 3.0}
_LEAST_FOR_PATTERN = 10


@dataclass(frozen=True, slots=True)
class Vote:
    """One judgement as a number: who, of what, with which instrument."""

    rater: str
    item: str
    instrument: str
    value: float
    active_ms: int | None = None
    first_chosen: bool | None = None
    """Whether the response shown first was chosen; None where no side was, or the order is unknown."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree on items that two or more judged with one instrument; NaN where nothing varies."""

    instrument: str
    items: int
    raters: int
    percent: float
    alpha: float
    gwet: float


@dataclass(frozen=True, slots=True)
class RaterQuality:
    """One rater's figures; shares are None where too little was seen to say."""

    rater: str
    votes: int
    agreement: float | None
    """Share of the other votes on the same items that say the same."""
    too_fast: float | None
    """Share of timed judgements under the limit."""
    same_value: float | None
    """Share of the commonest value, and 1.0 for a straight line."""
    longest_run: int
    first_chosen: float | None


def value_of(instrument: str, *, rating: int | None, thumb: int | None, outcome: str | None) -> float | None:
    """Return a judgement as a number on its instrument's scale, or None where it carries no vote."""
    if instrument == "comparison":
        return _OUTCOMES.get(outcome or "")
    number = rating if instrument == "stars" else thumb if instrument == "thumbs" else None
    return None if number is None else float(number)


def agreements(votes: Sequence[Vote]) -> list[Agreement]:
    """Return the agreement of each instrument that has items with two or more raters."""
    found = []
    for instrument, (scale, categories) in _SCALES.items():
        table = _table([vote for vote in votes if vote.instrument == instrument])
        if table.size == 0:
            continue
        found.append(
            Agreement(
                instrument,
                items=len(table),
                raters=table.shape[1],
                percent=percent_agreement(table),
                alpha=krippendorff_alpha(table, metric=scale),
                gwet=gwet_ac(table, weights="quadratic" if scale == "ordinal" else "identity", categories=categories),
            )
        )
    return found


def rater_quality(votes: Sequence[Vote], *, too_fast_ms: int) -> list[RaterQuality]:
    """Return each rater's figures, in the order of their names; votes are given in the order they were cast."""
    by_item: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    by_rater: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_item[vote.instrument, vote.item].append(vote)
        by_rater[vote.rater].append(vote)
    return [_quality(rater, cast, by_item, too_fast_ms) for rater, cast in sorted(by_rater.items())]


def _quality(
    rater: str, cast: Sequence[Vote], by_item: dict[tuple[str, str], list[Vote]], too_fast_ms: int
) -> RaterQuality:
    others = [
        (vote.value, other.value)
        for vote in cast
        for other in by_item[vote.instrument, vote.item]
        if other.rater != rater
    ]
    times = [vote.active_ms for vote in cast if vote.active_ms is not None]
    sides = [vote.first_chosen for vote in cast if vote.first_chosen is not None]
    answers = [(vote.instrument, vote.value) for vote in cast]
    enough = len(cast) >= _LEAST_FOR_PATTERN
    return RaterQuality(
        rater,
        votes=len(cast),
        agreement=_share(mine == theirs for mine, theirs in others),
        too_fast=_share(time < too_fast_ms for time in times),
        same_value=Counter(answers).most_common(1)[0][1] / len(cast) if enough else None,
        longest_run=max(sum(1 for _ in run) for _, run in groupby(answers)),
        first_chosen=_share(sides) if len(sides) >= _LEAST_FOR_PATTERN else None,
    )


def _share(truths: Iterable[bool]) -> float | None:
    listed = list(truths)
    return sum(listed) / len(listed) if listed else None


def _table(votes: Sequence[Vote]) -> NDArray[np.float64]:
    """Arrange votes as (N items, R raters), NaN where a rater did not judge; items of one rater are left out."""
    by_item: dict[str, dict[str, float]] = defaultdict(dict)
    for vote in votes:
        by_item[vote.item][vote.rater] = vote.value
    shared = {item: given for item, given in by_item.items() if len(given) > 1}
    raters = {
        rater: column for column, rater in enumerate(sorted({name for given in shared.values() for name in given}))
    }
    table = np.full((len(shared), len(raters)), np.nan)
    for row, given in enumerate(shared.values()):
        for rater, value in given.items():
            table[row, raters[rater]] = value
    return table
