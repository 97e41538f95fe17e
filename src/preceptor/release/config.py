"""The settings of the release stage: which policy, on which report, through which gates."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from preceptor.gates import GateThresholds


class ReleaseConfig(BaseModel):
    """Register one evaluated policy as a candidate release, or refuse it with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = Field(description="Artifact id of the policy to release.")
    report: str = Field(description="Artifact id of the evaluation report on that policy.")
    agent_name: str = Field(default="clinical_agent", description="The agent that the policy would answer for.")
    gates: GateThresholds = GateThresholds()
