"""The settings of a curation run, said once: command-line flags, API body and stored run record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CurateConfig(BaseModel):
    """What to curate; a run touches only judgements that are new, changed, withdrawn or cleaned by an older version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str | None = Field(default=None, description="Curate the judgements of one agent only.")
    batch_size: int = Field(default=32, ge=1, le=1000, description="Judgements that are cleaned and stored together.")
    retry_held: bool = Field(default=False, description="Try again the records that an earlier run had to hold.")
    too_fast_ms: int = Field(default=2000, ge=0, description="A judgement faster than this counts as too fast.")
