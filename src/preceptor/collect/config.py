"""What a run of the collect stage can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CollectConfig(BaseModel):
    """Import a file of judgements, or without one count what has come in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = Field(default=None, description="JSON lines of feedback, preferences or pairs to import.")
    kind: Literal["auto", "feedback", "preference", "pair"] = Field(
        default="auto", description="What the file holds; told by the names of its fields when auto."
    )
    dry_run: bool = Field(default=False, description="Report what would happen and store nothing.")
    skip_rejected: bool = Field(
        default=False, description="Import the good lines of a file although others are rejected."
    )
    anonymous: bool = Field(default=False, description="Leave clinician_id out instead of keeping who judged.")
