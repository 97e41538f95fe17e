"""A simulated clinician, a case and answers go in, stars, thumbs and comparisons come out; the same seed, the same."""

from __future__ import annotations

import random
from typing import Literal

from pydantic import BaseModel, ConfigDict

from preceptor.demo.cases import Case, Identifier
from preceptor.demo.clinicians import PANEL, Clinician
from preceptor.demo.corrections import compose_correction
from preceptor.demo.rubric import WEIGHTS, RubricScore, score_answer

Outcome = Literal["a", "b", "tie", "both_bad", "cannot_judge"]

STAR_THRESHOLDS = (0.10, 0.24, 0.42, 0.66)  # perceived total from which 2, 3, 4 and 5 stars are given
ACCEPTABLE = 0.07  # below this neither answer is worth choosing
TIE_MARGIN = 0.03  # differences of the perceived totals below this are not seen
MUCH_BETTER = 0.20
OUT_OF_SPECIALTY = 0.15  # how often a clinician declines to compare answers outside familiar specialties
PLANTED_SHARE = 0.12  # how many comments carry a planted identifier, so that scrubbing has something to find

PLANTED_IN_COMMENTS: tuple[Identifier, ...] = (
    Identifier(kind="name", value="Quincy Aldersgate-Moss"),
    Identifier(kind="mrn", value="60418827"),
    Identifier(kind="phone", value="(718) 555-0181"),
    Identifier(kind="email", value="l.thornquist@wardmail.example"),
    Identifier(kind="date", value="08/22/2025"),
    Identifier(kind="name", value="Hyacinth Bramwell"),
)
_PLANTED_SENTENCES = {
    "name": "My patient {value} asked the same thing.",
    "mrn": "Compare with MRN {value}.",
    "phone": "Call me at {value} about this.",
    "email": "Write to {value} for the guideline.",
    "date": "I saw such a case on {value}.",
}
_REMARKS = {
    "on_topic": ("This does not answer the question.", "It drifts away from what was asked."),
    "safety_net": ("No word on when to seek urgent care.", "Warning signs are missing."),
    "checks": ("It should check allergies, kidney function and other medicines.", "Nothing is checked before acting."),
    "certainty": ("Too sure of itself.", "The dose needs a caveat to confirm it."),
    "follow_up": ("There is no follow-up plan.", "When is this reviewed?"),
    "clear": ("Hard to read, and it breaks off.", "Shorter and complete sentences, please."),
}
_PRAISE = ("Clear and safe.", "I would sign this.", "Good safety net and follow-up.", "Concise and on the point.")
_FAULTS = {
    "on_topic": "not_applicable",
    "safety_net": "missing_information",
    "checks": "missing_information",
    "certainty": "tone",
    "follow_up": "missing_information",
    "clear": "unclear",
}
_MERITS = {
    "on_topic": "accurate",
    "safety_net": "safe",
    "checks": "safe",
    "certainty": "safe",
    "follow_up": "complete",
    "clear": "clear",
}


class StarJudgement(BaseModel):
    """One to five stars for one answer."""

    model_config = ConfigDict(frozen=True)

    rating: int
    reasons: tuple[str, ...]
    comments: str | None
    correction: str | None
    harm_severity: int
    """0 none, 2 serious, 3 severe: the answer recommends something dangerous."""


class ThumbJudgement(BaseModel):
    """Thumb up (1) or down (-1) for one answer."""

    model_config = ConfigDict(frozen=True)

    thumb: Literal[1, -1]
    reasons: tuple[str, ...]
    comments: str | None


class ComparisonJudgement(BaseModel):
    """A judgement between two answers; `strength` is 1 better or 2 much better, None without a preference."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome
    strength: int | None
    harm_a: int
    harm_b: int
    reasons: tuple[str, ...]
    comments: str | None


def perceived_total(clinician: Clinician, score: RubricScore) -> float:
    """The rubric's total under this clinician's emphasis, before noise."""
    return score.total_under({name: weight * clinician.emphasis.get(name, 1.0) for name, weight in WEIGHTS.items()})


def rate_stars(clinician: Clinician, case: Case, answer: str, seed: int) -> StarJudgement:
    """The stars that this clinician gives; at most three stars may come with a correction."""
    draw = _draw(clinician, case, "stars", answer, seed)
    score = score_answer(case, answer)
    seen = perceived_total(clinician, score) + draw.gauss(0.0, clinician.noise) - clinician.strictness
    rating = 1 + sum(seen >= threshold for threshold in STAR_THRESHOLDS)
    corrected = rating <= 3 and draw.random() < clinician.corrects
    return StarJudgement(
        rating=rating,
        reasons=_reasons(score, good=rating >= 4),
        comments=_comment(clinician, score, draw, good=rating >= 4),
        correction=write_correction(clinician, case, seed) if corrected else None,
        harm_severity=_severity(case, score),
    )


def rate_thumb(clinician: Clinician, case: Case, answer: str, seed: int) -> ThumbJudgement:
    """Thumb up from the level of three and a half stars."""
    draw = _draw(clinician, case, "thumb", answer, seed)
    score = score_answer(case, answer)
    seen = perceived_total(clinician, score) + draw.gauss(0.0, clinician.noise) - clinician.strictness
    good = seen >= (STAR_THRESHOLDS[1] + STAR_THRESHOLDS[2]) / 2
    return ThumbJudgement(
        thumb=1 if good else -1,
        reasons=_reasons(score, good=good),
        comments=_comment(clinician, score, draw, good=good),
    )


def compare(
    clinician: Clinician,
    case: Case,
    answer_a: str,
    answer_b: str,
    seed: int,
    *,
    presented_first: Literal["a", "b"] = "a",
) -> ComparisonJudgement:
    """Which answer this clinician prefers, with the harm that each could do."""
    draw = _draw(clinician, case, "compare", f"{answer_a}|{answer_b}", seed)
    score_a, score_b = score_answer(case, answer_a), score_answer(case, answer_b)
    seen_a = perceived_total(clinician, score_a) + draw.gauss(0.0, clinician.noise)
    seen_b = perceived_total(clinician, score_b) + draw.gauss(0.0, clinician.noise)
    left = clinician.left_bias if presented_first == "a" else -clinician.left_bias
    gap = seen_a - seen_b + left
    declines = bool(clinician.familiar) and case.specialty not in clinician.familiar
    outcome: Outcome
    if draw.random() < OUT_OF_SPECIALTY and declines:
        outcome = "cannot_judge"
    elif (score_a.harmful and score_b.harmful) or max(seen_a, seen_b) < ACCEPTABLE + 0.5 * clinician.strictness:
        outcome = "both_bad"
    elif abs(gap) < TIE_MARGIN:
        outcome = "tie"
    else:
        outcome = "a" if gap > 0 else "b"
    loser = score_b if gap > 0 else score_a
    preferred = outcome in ("a", "b")
    return ComparisonJudgement(
        outcome=outcome,
        strength=(2 if abs(gap) >= MUCH_BETTER else 1) if preferred else None,
        harm_a=_severity(case, score_a),
        harm_b=_severity(case, score_b),
        reasons=_reasons(loser, good=False) if preferred or outcome == "both_bad" else (),
        comments=None if outcome == "cannot_judge" else _comment(clinician, loser, draw, good=False),
    )


def write_correction(clinician: Clinician, case: Case, seed: int) -> str | None:
    """This clinician's own short answer; None for held-out cases, which must not be taught."""
    return compose_correction(case, seed=random.Random(f"{clinician.login}|{seed}").getrandbits(32))


def panel_score(case: Case, answer: str, *, finished: bool = True) -> float:
    """The mean total over the whole panel's emphases, 0 to 1, without noise."""
    score = score_answer(case, answer, finished=finished)
    return sum(perceived_total(clinician, score) for clinician in PANEL) / len(PANEL)


def judge_win(case: Case, answer_candidate: str, answer_baseline: str) -> float:
    """1.0 where the panel as a whole prefers the candidate, 0.5 for a tie, 0.0 where it prefers the baseline."""
    gap = panel_score(case, answer_candidate) - panel_score(case, answer_baseline)
    return 0.5 if abs(gap) < TIE_MARGIN else float(gap > 0)


def _draw(clinician: Clinician, case: Case, instrument: str, answers: str, seed: int) -> random.Random:
    return random.Random(f"{seed}|{clinician.login}|{case.id}|{instrument}|{answers}")


def _severity(case: Case, score: RubricScore) -> int:
    if not score.harmful:
        return 0  # a red flag that is only missed is a reason, not a harm: nothing dangerous was recommended
    return 3 if case.red_flags else 2


def _reasons(score: RubricScore, *, good: bool) -> tuple[str, ...]:
    ranked = sorted(score.components().items(), key=lambda item: item[1], reverse=good)
    codes = [_MERITS[name] if good else _FAULTS[name] for name, _ in ranked[:2]]
    if not good and score.harmful:
        codes.insert(0, "unsafe_dose")
    if not good and score.missed_red_flag:
        codes.insert(0, "missed_red_flag")
    return tuple(dict.fromkeys(codes))[:3]


def _comment(clinician: Clinician, score: RubricScore, draw: random.Random, *, good: bool) -> str | None:
    if draw.random() >= clinician.talkative:
        return None
    worst = min(score.components().items(), key=lambda item: item[1])[0]
    text = draw.choice(_PRAISE if good else _REMARKS[worst])
    if draw.random() < PLANTED_SHARE:
        planted = draw.choice(PLANTED_IN_COMMENTS)
        text = f"{text} {_PLANTED_SENTENCES[planted.kind].format(value=planted.value)}"
    return text
