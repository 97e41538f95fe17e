"""Releases, aliases, experiments and exposures: what is served to whom, since when, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from preceptor.db.tables import Table


class Release(Table):
    """An immutable numbered version of an agent's policy. Version 0 is the base model."""

    __tablename__ = "releases"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    release_id: Mapped[str] = mapped_column(String, unique=True)
    agent_name: Mapped[str] = mapped_column(String)
    version: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(String)  # artifact id of the policy, or the base model's name
    digest: Mapped[str] = mapped_column(String)
    report_artifact_id: Mapped[str | None] = mapped_column(String)
    run_id: Mapped[str | None] = mapped_column(String)
    state: Mapped[str] = mapped_column(String)  # candidate | active | retired | refused
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (
        UniqueConstraint("agent_name", "version", name="releases_agent_name_version_key"),
        UniqueConstraint("agent_name", "digest", name="releases_agent_name_digest_key"),
    )


class Alias(Table):
    """A name that points at a release: active, candidate, previous."""

    __tablename__ = "aliases"
    agent_name: Mapped[str] = mapped_column(String, primary_key=True)
    alias: Mapped[str] = mapped_column(String, primary_key=True)
    release_id: Mapped[str | None] = mapped_column(ForeignKey("releases.release_id"))
    generation: Mapped[int] = mapped_column(Integer, server_default="0")


class AliasEvent(Table):
    """One move of an alias; append only, each row hashed over the one before."""

    __tablename__ = "alias_events"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    agent_name: Mapped[str] = mapped_column(String)
    alias: Mapped[str] = mapped_column(String)
    before: Mapped[str | None] = mapped_column(String)
    after: Mapped[str | None] = mapped_column(String)
    generation: Mapped[int] = mapped_column(Integer)
    actor: Mapped[str] = mapped_column(String)
    reason: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str | None] = mapped_column(String)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    previous_hash: Mapped[str] = mapped_column(CHAR(64))
    hash: Mapped[str] = mapped_column(CHAR(64))


class Experiment(Table):
    """An online comparison of two releases of one agent; at most one is running for each agent."""

    __tablename__ = "experiments"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    experiment_id: Mapped[str] = mapped_column(String, unique=True)
    agent_name: Mapped[str] = mapped_column(String)
    control_release_id: Mapped[str] = mapped_column(ForeignKey("releases.release_id"))
    treatment_release_id: Mapped[str] = mapped_column(ForeignKey("releases.release_id"))
    state: Mapped[str] = mapped_column(String, server_default="running")
    # running | paused | promoted | rolled_back | inconclusive
    hash_seed: Mapped[str] = mapped_column(String)
    coverage: Mapped[float] = mapped_column(Float, server_default="1")
    config: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    decision: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        Index(
            "experiments_running_idx",
            "agent_name",
            unique=True,
            postgresql_where=text("state IN ('running', 'paused')"),
        ),
    )


class ExperimentAssignment(Table):
    """The arm a unit was given, once and for all. `unit` is a pseudonym of the clinician."""

    __tablename__ = "experiment_assignments"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.experiment_id", ondelete="CASCADE"))
    unit: Mapped[str] = mapped_column(String)
    clinician_id: Mapped[int | None] = mapped_column(Integer)
    arm: Mapped[str] = mapped_column(String)  # control | treatment
    probability: Mapped[float] = mapped_column(Float)
    stratum: Mapped[str | None] = mapped_column(String)
    assigned_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (UniqueConstraint("experiment_id", "unit", name="experiment_assignments_experiment_id_unit_key"),)


class Exposure(Table):
    """A clinician met an answer of an arm; append only."""

    __tablename__ = "exposures"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    exposure_id: Mapped[str] = mapped_column(String, unique=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.experiment_id", ondelete="CASCADE"))
    unit: Mapped[str] = mapped_column(String)
    arm: Mapped[str] = mapped_column(String)
    interaction_id: Mapped[str | None] = mapped_column(String)
    model_digest: Mapped[str | None] = mapped_column(String)
    generation: Mapped[int | None] = mapped_column(Integer)
    latency_ms: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (Index("exposures_experiment_idx", "experiment_id", "unit"),)
