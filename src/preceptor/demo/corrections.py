"""A case and a seed go in, the short answer that a simulated clinician would have given comes out."""

from __future__ import annotations

import random
import re

from preceptor.demo.cases import Case

# Nearly all of a correction is about its case: a policy that is taught general sentences learns a form that fits every
# question and answers none. In their own words clinicians only say when to look again, and now and then what to check.
_OWN_FOLLOW_UP, _OWN_CHECKS = 0.5, 0.25
_LAST_PART = re.compile(r"(?:, and|;) (?!.*(?:, and|;) )[^,;]*\.$")
_FOLLOW_UP = (
    "Recheck in one week.",
    "Follow up within two weeks.",
    "Review again in a few days.",
    "Book a follow-up visit within a week.",
    "Monitor closely and review in two weeks.",
)
_FOLLOW_UP_URGENT = (
    "Follow up with your doctor within two days.",
    "Your doctor should review this within a few days.",
    "Arrange follow-up with the clinic this week.",
)
_CHECKS = {
    "drug_safety": "First check allergies, kidney function and other medicines.",
    "chronic_disease": "Review kidney function, blood tests and other medicines first.",
    "counselling": "Tell your pharmacist about allergies, pregnancy and other medicines.",
    "red_flags": "Tell the team about allergies, other medicines and when it started.",
}


def compose_correction(case: Case, *, seed: int) -> str | None:
    """A complete answer of about 30 to 50 words, or None where the case carries no advice (held-out cases).

    Urgent cases put the instruction first; all others give the advice, then what to check and when to get help.
    """
    if not case.advice:
        return None
    draw = random.Random(f"correction|{case.id}|{seed}")
    first, rest = case.plan.split(". ", 1)
    if draw.random() < _OWN_FOLLOW_UP:
        again = draw.choice(_FOLLOW_UP_URGENT if case.red_flags else _FOLLOW_UP)
        rest = f"{_LAST_PART.sub('.', rest)} {again}"
    if case.red_flags:
        return f"{first}. {case.advice} {rest}"
    checks = _CHECKS[case.kind] if draw.random() < _OWN_CHECKS else f"{first}."
    return f"{case.advice} {checks} {rest}"
