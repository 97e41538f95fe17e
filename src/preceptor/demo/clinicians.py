"""Nothing goes in, the sixteen simulated clinicians of the demo come out: who they are and how they judge."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Clinician(BaseModel):
    """A simulated rater. No real person: the name, the login and every habit are made up."""

    model_config = ConfigDict(frozen=True)

    login: str
    display_name: str
    specialty: str
    familiar: tuple[str, ...]
    """Specialties of cases that this clinician feels able to judge; empty means all."""
    strictness: float
    """Shift of the star thresholds: 0.06 asks for 0.06 more of the rubric's total for the same star."""
    noise: float
    """Standard deviation of the error added to the perceived total, a fresh draw for every judgement."""
    emphasis: dict[str, float]
    """Factors on the rubric's weights; a component that is not named keeps factor 1."""
    left_bias: float = 0.0
    """Added to the perceived total of the answer that is shown first."""
    talkative: float = 0.2
    """How often a comment is written, 0 to 1."""
    corrects: float = 0.3
    """How often a poor answer is corrected, 0 to 1."""


def _clinician(
    login: str,
    name: str,
    specialty: str,
    familiar: tuple[str, ...],
    habits: tuple[float, float],
    emphasis: dict[str, float],
    **more: float,
) -> Clinician:
    strictness, noise = habits
    return Clinician(
        login=login,
        display_name=f"{name} (simulated)",
        specialty=specialty,
        familiar=familiar,
        strictness=strictness,
        noise=noise,
        emphasis=emphasis,
        **more,
    )


PANEL: tuple[Clinician, ...] = (
    _clinician(
        "sim.osei", "Dr. Amara Osei", "cardiology", ("cardiology", "geriatrics", "emergency", "nephrology"),
        (0.03, 0.04), {"safety_net": 1.4},
    ),
    _clinician(
        "sim.lindgren", "Dr. Maja Lindgren", "endocrinology", ("endocrinology", "nephrology", "obstetrics", "pharmacy"),
        (0.0, 0.05), {"follow_up": 1.4}, corrects=0.4,
    ),
    _clinician(
        "sim.rahman", "Dr. Tariq Rahman", "infectious disease", ("infectious disease", "emergency", "pediatrics"),
        (0.05, 0.04), {"checks": 1.3},
    ),
    _clinician(
        "sim.moreau", "Dr. Celeste Moreau", "psychiatry", ("psychiatry", "geriatrics", "pharmacy"),
        (-0.03, 0.07), {"certainty": 1.6, "clear": 1.2}, talkative=0.35,
    ),
    _clinician(
        "sim.nakamura", "Dr. Kenji Nakamura", "pediatrics", ("pediatrics", "infectious disease", "dermatology"),
        (0.02, 0.04), {"safety_net": 1.3, "checks": 1.2},
    ),
    _clinician(
        "sim.adeyemi", "Dr. Folake Adeyemi", "obstetrics", ("obstetrics", "endocrinology", "dermatology"),
        (0.0, 0.05), {"safety_net": 1.2, "on_topic": 1.2},
    ),
    _clinician(
        "sim.kovacs", "Dr. Bence Kovacs", "emergency", (), (0.06, 0.05), {"safety_net": 1.6, "clear": 1.3},
        talkative=0.1,
    ),
    _clinician(
        "sim.delgado", "Dr. Lucia Delgado", "dermatology", ("dermatology", "pediatrics", "infectious disease"),
        (-0.05, 0.06), {"clear": 1.3}, left_bias=0.02,
    ),
    _clinician(
        "sim.petrov", "Dr. Anton Petrov", "nephrology", ("nephrology", "cardiology", "endocrinology", "pharmacy"),
        (0.08, 0.04), {"checks": 1.6}, corrects=0.45,
    ),
    _clinician(
        "sim.okafor", "Dr. Ngozi Okafor", "oncology support", ("oncology support", "geriatrics", "pharmacy"),
        (0.0, 0.05), {"follow_up": 1.2, "certainty": 1.2},
    ),
    _clinician(
        "sim.harrow", "Dr. Edmund Harrow", "geriatrics", ("geriatrics", "cardiology", "psychiatry", "nephrology"),
        (0.04, 0.08), {"checks": 1.2, "follow_up": 1.2}, left_bias=0.03,
    ),
    _clinician(
        "sim.castellan", "Inez Castellan, PharmD", "pharmacy", (), (0.05, 0.03), {"checks": 1.5, "certainty": 1.3},
        corrects=0.5, talkative=0.3,
    ),
    _clinician(
        "sim.whitlock", "Dr. Rowan Whitlock", "family medicine", (), (-0.02, 0.06), {"clear": 1.2}, corrects=0.35,
    ),
    _clinician(
        "sim.banerjee", "Dr. Ishaan Banerjee", "internal medicine", (), (0.02, 0.05), {"on_topic": 1.3},
    ),
    _clinician(
        "sim.fontaine", "Margot Fontaine, RN", "triage nursing", (), (-0.04, 0.07), {"safety_net": 1.4, "clear": 1.4},
        talkative=0.3,
    ),
    _clinician(
        "sim.yilmaz", "Deniz Yilmaz, NP", "family medicine", (), (-0.06, 0.10), {}, talkative=0.15, corrects=0.15,
    ),
)  # fmt: skip
