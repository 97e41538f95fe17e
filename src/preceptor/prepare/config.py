"""The settings of a dataset, said once: command-line flags, API body and stored run record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PrepareConfig(BaseModel):
    """Which judgements become pairs, and how the pairs are split and weighted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str | None = Field(default=None, description="The judgements of one agent only.")
    include_simulated: bool = Field(default=False, description="Also use judgements of simulated clinicians.")
    minimum_gap: int = Field(default=2, ge=1, le=4, description="Stars between two answers that make a pair.")
    test_share: float = Field(default=0.2, gt=0, lt=1, description="Share of the prompts that is held out.")
    validation_share: float = Field(default=0.1, ge=0, lt=1, description="Share of the prompts for validation.")
    rater_share: float = Field(
        default=0.05, gt=0, le=1, description="Most of the weight one rater may have; twice an equal share if larger."
    )
    seed: int = Field(default=42, ge=0, description="Seed of the split.")
