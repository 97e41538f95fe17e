"""Answers and the panel in, the bodies of every judgement out: who judges what, the same under the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from preceptor.demo.answers import Answer
from preceptor.demo.cases import Case
from preceptor.demo.clinicians import PANEL, Clinician
from preceptor.demo.panel import compare, rate_stars, rate_thumb

SECOND_RATER_SHARE = 0.4  # answers that a second clinician rates too, so that agreement can be measured
THUMB_SHARE = 0.4
_FAMILIAR_WEIGHT = 3.0


@dataclass(frozen=True)
class Judgement:
    """One request that a clinician makes."""

    login: str
    path: Literal["/feedback", "/preference"]
    body: dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """One stored answer: what its interaction is called, and what it says."""

    interaction_id: str
    answer: Answer


def plan(pairs: Sequence[tuple[Shown, Shown]], *, raters_per_case: int, seed: int) -> list[Judgement]:
    """Comparisons of every pair by a few clinicians, stars on both answers, and some thumbs."""
    return [
        judgement
        for index, (first, second) in enumerate(pairs)
        for judgement in _of_pair(first, second, raters_per_case, random.Random(f"{seed}|{index}"), seed)
    ]


def _of_pair(first: Shown, second: Shown, raters_per_case: int, draw: random.Random, seed: int) -> Iterator[Judgement]:
    case = first.answer.case
    raters = choose_raters(case, raters_per_case + 1, draw)
    for position, clinician in enumerate(raters[:raters_per_case]):
        shown_first: Literal["a", "b"] = "a" if (position + draw.randrange(2)) % 2 == 0 else "b"
        yield comparison(clinician, first, second, seed=seed, presented_first=shown_first)
    for shown in (first, second):
        yield stars(raters[0], shown, seed=seed)
        if len(raters) > 1 and draw.random() < SECOND_RATER_SHARE:
            yield stars(raters[1], shown, seed=seed)
    if draw.random() < THUMB_SHARE:
        clinician = raters[-1]
        thumb = rate_thumb(clinician, case, first.answer.text, seed)
        given = {"thumb": "up" if thumb.thumb == 1 else "down", "reasons": thumb.reasons, "comments": thumb.comments}
        yield Judgement(clinician.login, "/feedback", _body(given, interaction_id=first.interaction_id))


def choose_raters(case: Case, count: int, draw: random.Random) -> list[Clinician]:
    """Different clinicians, those familiar with the specialty more often than the others."""
    ranked = sorted(
        PANEL,
        key=lambda one: draw.random() ** (1.0 / (_FAMILIAR_WEIGHT if _knows(one, case) else 1.0)),
        reverse=True,
    )
    return ranked[:count]


def _knows(clinician: Clinician, case: Case) -> bool:
    return not clinician.familiar or case.specialty in clinician.familiar


def comparison(clinician: Clinician, a: Shown, b: Shown, *, seed: int, presented_first: Literal["a", "b"]) -> Judgement:
    """What this clinician says of two answers, side by side and blinded."""
    case = a.answer.case
    seen = compare(clinician, case, a.answer.text, b.answer.text, seed, presented_first=presented_first)
    given = seen.model_dump(mode="json", exclude={"outcome"}) | {"preferred": seen.outcome}
    names = {"interaction_a": a.interaction_id, "interaction_b": b.interaction_id}
    return Judgement(
        clinician.login, "/preference", _body(given, **names, presented_first=presented_first, blinded=True)
    )


def stars(clinician: Clinician, shown: Shown, *, seed: int) -> Judgement:
    """The stars that this clinician gives, with comment and correction where there is one."""
    seen = rate_stars(clinician, shown.answer.case, shown.answer.text, seed).model_dump(mode="json")
    return Judgement(clinician.login, "/feedback", _body(seen, interaction_id=shown.interaction_id))


def _body(given: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The fields that say something: absent ones are left out."""
    return {name: value for name, value in {**given, **more}.items() if value is not None and value not in ([], ())}
