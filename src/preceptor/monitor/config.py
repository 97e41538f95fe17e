"""The settings of the monitor stage: how far back it looks and when it speaks up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MonitorConfig(BaseModel):
    """One execution of the monitor stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str | None = Field(default=None, description="The agent to measure; all agents together when absent.")
    days: int = Field(default=30, ge=1, le=3650, description="Days of volume in the snapshot.")
    recent_days: int = Field(default=14, ge=1, description="Days that are compared with everything before them.")
    silence_days: int = Field(default=7, ge=1, description="Days without a judgement that raise an alert.")
    alpha_floor: float = Field(
        default=0.4, ge=-1, le=1, description="Krippendorff's alpha below which labels are noisy."
    )
    minimum_items: int = Field(default=30, ge=2, description="Items judged twice before agreement raises an alert.")
    rating_margin: float = Field(
        default=0.05, ge=0, lt=1, description="Fall of satisfaction, on a scale from 0 to 1, that is tolerated."
    )
    heartbeat_seconds: int = Field(default=300, ge=10, description="Silence after which a running run counts as stuck.")
