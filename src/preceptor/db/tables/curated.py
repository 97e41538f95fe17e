"""De-identified judgements, and the text-free view of all judgements: what every stage after `curate` may read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy import Table as CoreTable
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from preceptor.db.tables import Table


class CuratedRecord(Table):
    """One judgement after de-identification. `status` is clear, held (a person must look) or excluded (with reason).

    Feedback fills `response_a` alone; a preference fills both. Text is null unless `status` is clear.
    """

    __tablename__ = "curated_records"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String)  # feedback | preference
    source_id: Mapped[str] = mapped_column(String)  # feedback_id or preference_id
    source_revision: Mapped[int] = mapped_column(Integer)
    source_hash: Mapped[str] = mapped_column(CHAR(64))  # keyed hash of the raw fields, to notice changes
    scrubber_version: Mapped[str] = mapped_column(String)
    status: Mapped[str] = mapped_column(String)
    reason: Mapped[str | None] = mapped_column(String)
    prompt: Mapped[str | None] = mapped_column(Text)
    response_a: Mapped[str | None] = mapped_column(Text)
    response_b: Mapped[str | None] = mapped_column(Text)
    correction: Mapped[str | None] = mapped_column(Text)
    instrument: Mapped[str] = mapped_column(String)  # stars | thumbs | comment | correction | comparison
    rating: Mapped[int | None] = mapped_column(Integer)
    thumb: Mapped[int | None] = mapped_column(SmallInteger)
    outcome: Mapped[str | None] = mapped_column(String)
    strength: Mapped[int | None] = mapped_column(SmallInteger)
    harm_a: Mapped[int | None] = mapped_column(SmallInteger)
    harm_b: Mapped[int | None] = mapped_column(SmallInteger)
    rater: Mapped[str | None] = mapped_column(String)  # pseudonym of the clinician
    rater_specialty: Mapped[str | None] = mapped_column(String)
    agent_name: Mapped[str | None] = mapped_column(String)
    specialty: Mapped[str | None] = mapped_column(String)
    is_simulated: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    findings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    judged_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    curated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (
        UniqueConstraint("kind", "source_id", name="curated_records_kind_source_id_key"),
        Index("curated_records_status_agent_idx", "status", "agent_name"),
    )


class DatasetMember(Table):
    """Which judgement, in which revision, is in which dataset: how a withdrawal finds its models."""

    __tablename__ = "dataset_members"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    artifact_id: Mapped[str] = mapped_column(ForeignKey("artifacts.artifact_id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String)
    source_id: Mapped[str] = mapped_column(String)
    source_revision: Mapped[int] = mapped_column(Integer)
    split: Mapped[str] = mapped_column(String)
    weight: Mapped[float] = mapped_column(Float, server_default="1")
    __table_args__ = (
        Index("dataset_members_artifact_idx", "artifact_id"),
        Index("dataset_members_source_idx", "kind", "source_id"),
    )


# A view made by the migration: counts, times, choices and hashes of every judgement, and no text at all.
judgements = CoreTable(
    "judgements",
    MetaData(),
    Column("kind", String),
    Column("source_id", String),
    Column("session_id", String),
    Column("agent_name", String),
    Column("clinician_id", Integer),
    Column("instrument", String),
    Column("rating", Integer),
    Column("thumb", SmallInteger),
    Column("outcome", String),
    Column("strength", SmallInteger),
    Column("harm_severity", SmallInteger),
    Column("presented_first", CHAR(1)),
    Column("interaction_id", String),
    Column("interaction_b", String),
    Column("content_hash", String),
    Column("prompt_hash", String),
    Column("experiment_id", String),
    Column("arm", String),
    Column("arm_b", String),
    Column("source", String),
    Column("review_status", String),
    Column("active_ms", Integer),
    Column("created_at", DateTime(timezone=True)),
    Column("withdrawn_at", DateTime(timezone=True)),
    Column("is_simulated", Boolean),
)
