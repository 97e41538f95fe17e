"""A case and a seed go in, the short answer that a simulated clinician would have given comes out."""

from __future__ import annotations

import random

from preceptor.demo.cases import Case

_FITS = 45  # words; with the policy's tokenizer such an answer ends well within 64 tokens
# each fragment is a general piece of good practice for its kind of question; the case's own advice comes first
_CHECKS = {
    "drug_safety": (
        "First check allergies, kidney function and other medicines.",
        "Before any change, check kidney and liver function, pregnancy and other medicines.",
        "Review allergies, kidney function and all medicines first.",
        "Ask about pregnancy, allergies and other medicines before you prescribe.",
        "Confirm age, weight, kidney function and other medicines first.",
    ),
    "chronic_disease": (
        "Check blood pressure, kidney function and other medicines first.",
        "Review kidney function, blood tests and other medicines before any change.",
        "Ask about medical history, other medicines and pregnancy first.",
        "Before any change, check kidney function and all medicines.",
    ),
    "counselling": (
        "Tell your pharmacist about allergies and other medicines.",
        "Ask your doctor first if you are pregnant or take other medicines.",
        "Mention allergies, pregnancy and other medicines to your doctor.",
        "Check with your pharmacist about other medicines and allergies.",
    ),
    "red_flags": (
        "Bring a list of allergies and all medicines.",
        "Tell the team about allergies, other medicines and when it started.",
        "Mention medical history, allergies and current medicines.",
        "Have the list of medicines and allergies ready.",
    ),
}
_URGENT = (
    "Call 911 or go to the emergency department now.",
    "Go to the emergency department now; do not wait.",
    "This needs emergency care today, so call 911 now.",
    "Seek emergency care right away and do not drive alone.",
)
_URGENT_CLINICIAN = (
    "Send the patient to the emergency department now.",
    "This needs emergency care today; call for help now.",
    "Get the patient to hospital now; do not wait.",
)
_SAFETY = {
    "prescription_agent": (
        "Send for urgent care if there is fever, confusion or trouble breathing.",
        "Arrange urgent review for bleeding, fainting or severe symptoms.",
        "Seek urgent help for rash, swelling or trouble breathing.",
        "Refer urgently if confusion, vomiting or severe pain appears.",
    ),
    "patient_education_agent": (
        "Seek urgent care for chest pain, fainting or trouble breathing.",
        "Call your doctor urgently if fever, bleeding or severe pain starts.",
        "Get urgent help if you have swelling, confusion or trouble breathing.",
        "See a doctor urgently if symptoms get severe or you have a fever.",
    ),
    "triage_agent": (
        "Call 911 if there is trouble breathing, fainting or confusion.",
        "Get urgent care if fever, swelling or severe pain starts.",
    ),
}
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


def compose_correction(case: Case, *, seed: int) -> str | None:
    """A complete answer of about 30 to 50 words, or None where the case carries no advice (held-out cases).

    Urgent cases put the instruction first; all others give the advice, then checks, safety net and follow-up.
    """
    if not case.advice:
        return None
    draw = random.Random(f"correction|{case.id}|{seed}")
    drafts = [_draft(case, draw) for _ in range(12)]
    return next((draft for draft in drafts if len(draft.split()) <= _FITS), min(drafts, key=len))


def _draft(case: Case, draw: random.Random) -> str:
    checks = draw.choice(_CHECKS[case.kind])
    if case.red_flags:
        urgent = draw.choice(_URGENT_CLINICIAN if case.agent_name == "prescription_agent" else _URGENT)
        return " ".join((urgent, case.advice, checks, draw.choice(_FOLLOW_UP_URGENT)))
    return " ".join((case.advice, checks, draw.choice(_SAFETY[case.agent_name]), draw.choice(_FOLLOW_UP)))
