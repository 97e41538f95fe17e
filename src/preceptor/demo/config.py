"""The size of the demo: how many cases, how long the training, whether the server stays up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

AGENT = "clinical_agent"


class DemoConfig(BaseModel):
    """The whole round on this machine. The defaults fit two cores and a quarter of an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cases: int = Field(180, ge=12, le=180, description="Clinical cases that the panel judges.")
    heldout: int = Field(48, ge=6, le=48, description="Cases kept for the final judgement.")
    raters_per_case: int = Field(2, ge=1, le=16, description="Clinicians who compare the two answers to a case.")
    max_new_tokens: int = Field(64, ge=8, description="Longest answer, in tokens.")
    temperature: float = Field(0.7, gt=0, description="Temperature of every answer, in training as in use.")
    ppo_minutes: float = Field(5.0, gt=0, description="Most minutes of PPO.")
    warm_start_epochs: int = Field(4, ge=0, description="Supervised passes over corrections before PPO.")
    questions_per_clinician: int = Field(3, ge=1, description="Questions that each clinician asks in the A/B test.")
    duels_per_clinician: int = Field(6, ge=1, description="Blinded comparisons that each clinician makes.")
    seed: int = Field(7, ge=0, description="Seed of answers, panel and training.")
    serve: bool = Field(True, description="Leave the server up at the end.")
    fresh: bool = Field(False, description="Start over instead of resuming.")
    port: int = Field(0, ge=0, description="Port of the server; the configured one, or a free one near it, when 0.")
