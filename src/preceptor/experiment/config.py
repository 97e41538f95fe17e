"""The settings of the experiment stage: what is compared, and what it takes to decide."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DecisionPolicy(BaseModel):
    """What it takes to roll back, to pause and to recommend promotion; fixed when the experiment starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="Error rate of each test.")
    margin: float = Field(
        default=0.05, gt=0, lt=1, description="Largest tolerated loss of satisfaction, on a scale from 0 to 1."
    )
    safety_margin: float = Field(
        default=0.10, gt=0, lt=1, description="Largest tolerated rise in the share of clinicians who flag an answer."
    )
    harm_level: int = Field(default=2, ge=1, le=3, description="Harm severity from which an answer counts as unsafe.")
    planned_units: int = Field(default=400, ge=2, description="Clinicians planned, both arms together.")
    minimum_units: int = Field(
        default=50, ge=2, description="Clinicians an arm below which asymptotic intervals are not read."
    )
    window_days: float = Field(default=14, gt=0, description="Days from first exposure until a clinician counts.")
    ratings_per_unit: int = Field(default=10, ge=1, description="Ratings of one clinician that count, the first ones.")
    crossover_limit: float = Field(default=0.01, ge=0, lt=1, description="Share of exposures to the wrong arm allowed.")
    small_sample: Literal["duels", "refuse"] = Field(
        default="duels",
        description="With too few clinicians for a certificate: decide on blinded duels, or never recommend.",
    )
    minimum_duelists: int = Field(default=8, ge=3, description="Clinicians with duels needed by the duels policy.")


class ExperimentConfig(BaseModel):
    """One execution of the experiment stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str = Field(description="The agent whose releases are compared.")
    action: Literal["auto", "start", "analyze"] = Field(
        default="auto",
        description="start: candidate against active; analyze: decide; auto: start when nothing runs, else analyze.",
    )
    experiment_id: str | None = Field(default=None, description="Analyze this one instead of the agent's running one.")
    final: bool = Field(
        default=False,
        description="The planned period is over: close every window and decide once.",
    )
    allocation: Literal["blocks", "hash"] = Field(
        default="blocks", description="blocks: permuted blocks, for fewer than 200 clinicians; hash: stateless buckets."
    )
    coverage: float = Field(default=1.0, gt=0, le=1, description="Share of clinicians who take part.")
    policy: DecisionPolicy = Field(default=DecisionPolicy(), description="What it takes to decide; used at the start.")
