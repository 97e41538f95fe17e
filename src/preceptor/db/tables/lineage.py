"""Rounds, runs and artifacts: who made what from what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, Index, Integer, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from preceptor.db.tables import Table


class Round(Table):
    """One turn of the loop. `trigger_key` is unique, so a threshold crossing starts exactly one."""

    __tablename__ = "rounds"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    round_id: Mapped[str] = mapped_column(String, unique=True)
    agent_name: Mapped[str | None] = mapped_column(String)
    trigger_key: Mapped[str] = mapped_column(String, unique=True)
    state: Mapped[str] = mapped_column(String, server_default="queued")
    # queued | running | succeeded | refused | failed | canceled
    stage: Mapped[str | None] = mapped_column(String)
    config: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    outcome: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    error: Mapped[str | None] = mapped_column(Text)
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    high_water: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Run(Table):
    """One execution of a stage. `attempt` is the fencing token: only the current attempt may publish."""

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[str] = mapped_column(String, unique=True)
    round_id: Mapped[str | None] = mapped_column(ForeignKey("rounds.round_id", ondelete="CASCADE"))
    stage: Mapped[str] = mapped_column(String)
    state: Mapped[str] = mapped_column(String, server_default="queued")
    # queued | running | succeeded | refused | failed | canceled
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    summary: Mapped[str | None] = mapped_column(Text)
    artifact_id: Mapped[str | None] = mapped_column(String)
    error: Mapped[str | None] = mapped_column(Text)
    log_path: Mapped[str | None] = mapped_column(String)
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    heartbeat_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        Index(
            "runs_round_stage_idx",
            "round_id",
            "stage",
            unique=True,
            postgresql_where=text("round_id IS NOT NULL"),
        ),
    )


class ArtifactRow(Table):
    """A published artifact: the folder's identity in the database."""

    __tablename__ = "artifacts"
    artifact_id: Mapped[str] = mapped_column(String, primary_key=True)
    kind: Mapped[str] = mapped_column(String)
    run_id: Mapped[str | None] = mapped_column(String)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class ArtifactParent(Table):
    """An edge of the lineage: `artifact_id` was made from `parent_id`."""

    __tablename__ = "artifact_parents"
    artifact_id: Mapped[str] = mapped_column(ForeignKey("artifacts.artifact_id", ondelete="CASCADE"), primary_key=True)
    parent_id: Mapped[str] = mapped_column(String, primary_key=True)
