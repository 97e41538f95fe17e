"""Raw clinical text as it came in: only `collect` and `curate` may import this module.

The seed document's two tables keep every column; what is added is nullable or has a default, so plain SQL
written against the original schema still works. Text columns may be sealed (see `db/encrypted.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from preceptor.db.tables import Table


class Interaction(Table):
    """One answer that an agent gave: what feedback and preferences point at."""

    __tablename__ = "interactions"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    interaction_id: Mapped[str] = mapped_column(String, unique=True)
    external_id: Mapped[str | None] = mapped_column(String, unique=True)
    session_id: Mapped[str] = mapped_column(String)
    agent_name: Mapped[str] = mapped_column(String)
    prompt: Mapped[str] = mapped_column(Text)
    response: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[str] = mapped_column(CHAR(64))
    prompt_hash: Mapped[str] = mapped_column(CHAR(64))
    model_name: Mapped[str | None] = mapped_column(String)
    model_digest: Mapped[str | None] = mapped_column(String)
    prompt_version: Mapped[str | None] = mapped_column(String)
    sampling: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    experiment_id: Mapped[str | None] = mapped_column(String)
    arm: Mapped[str | None] = mapped_column(String)
    specialty: Mapped[str | None] = mapped_column(String)
    finished: Mapped[bool | None] = mapped_column(Boolean)
    source: Mapped[str] = mapped_column(String, server_default="api")  # api | gateway | import
    known_identifiers: Mapped[list[str] | None] = mapped_column(JSONB)
    created_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (Index("interactions_session_agent_idx", "session_id", "agent_name"),)


class Feedback(Table):
    """One judgement of one response: the seed's 12 columns, then ours."""

    __tablename__ = "rlhf_feedback"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    feedback_id: Mapped[str] = mapped_column(String, unique=True)
    session_id: Mapped[str] = mapped_column(String)
    agent_name: Mapped[str] = mapped_column(String)
    user_query: Mapped[str] = mapped_column(Text)
    agent_response: Mapped[str] = mapped_column(Text)
    rating: Mapped[int | None] = mapped_column(Integer)
    feedback_type: Mapped[str | None] = mapped_column(String)
    clinician_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    comments: Mapped[str | None] = mapped_column(Text)
    timestamp: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), server_default=func.now())
    processed: Mapped[bool | None] = mapped_column(Boolean, server_default=text("false"))
    # ours; null in rows written by plain SQL
    interaction_id: Mapped[str | None] = mapped_column(ForeignKey("interactions.interaction_id"))
    instrument: Mapped[str | None] = mapped_column(String)  # stars | thumbs | comment | correction
    thumb: Mapped[int | None] = mapped_column(SmallInteger)
    correction: Mapped[str | None] = mapped_column(Text)
    harm_severity: Mapped[int | None] = mapped_column(SmallInteger)
    reasons: Mapped[list[str] | None] = mapped_column(JSONB)
    source: Mapped[str] = mapped_column(String, server_default="seed")  # api | page | import | seed
    review_status: Mapped[str] = mapped_column(String, server_default="new")  # new | accepted | rejected
    content_hash: Mapped[str | None] = mapped_column(CHAR(64))
    prompt_hash: Mapped[str | None] = mapped_column(CHAR(64))
    experiment_id: Mapped[str | None] = mapped_column(String)
    arm: Mapped[str | None] = mapped_column(String)
    model_digest: Mapped[str | None] = mapped_column(String)
    rater_specialty: Mapped[str | None] = mapped_column(String)
    consent_scope: Mapped[str | None] = mapped_column(String)  # in force when it was judged; null where none
    active_ms: Mapped[int | None] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer, server_default="1")
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    withdrawn_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        Index("rlhf_feedback_agent_timestamp_idx", "agent_name", "timestamp"),
        Index("rlhf_feedback_session_idx", "session_id"),
        Index("rlhf_feedback_clinician_idx", "clinician_id"),
        Index(
            "rlhf_feedback_live_idx",
            "interaction_id",
            "clinician_id",
            "instrument",
            unique=True,
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
    )


class Preference(Table):
    """One judgement between two responses: the seed's 9 columns, then ours. `response_a` is never "the left one"."""

    __tablename__ = "rlhf_preferences"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    preference_id: Mapped[str] = mapped_column(String, unique=True)
    prompt: Mapped[str] = mapped_column(Text)
    response_a: Mapped[str] = mapped_column(Text)
    response_b: Mapped[str] = mapped_column(Text)
    preferred: Mapped[str | None] = mapped_column(CHAR(1))
    clinician_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    timestamp: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), server_default=func.now())
    processed: Mapped[bool | None] = mapped_column(Boolean, server_default=text("false"))
    # ours; null in rows written by plain SQL
    session_id: Mapped[str | None] = mapped_column(String)
    agent_name: Mapped[str | None] = mapped_column(String)
    interaction_a: Mapped[str | None] = mapped_column(ForeignKey("interactions.interaction_id"))
    interaction_b: Mapped[str | None] = mapped_column(ForeignKey("interactions.interaction_id"))
    outcome: Mapped[str | None] = mapped_column(String)  # a | b | tie | both_bad | cannot_judge
    strength: Mapped[int | None] = mapped_column(SmallInteger)  # 1 better | 2 much better
    presented_first: Mapped[str | None] = mapped_column(CHAR(1))
    blinded: Mapped[bool | None] = mapped_column(Boolean)
    harm_a: Mapped[int | None] = mapped_column(SmallInteger)
    harm_b: Mapped[int | None] = mapped_column(SmallInteger)
    reasons: Mapped[list[str] | None] = mapped_column(JSONB)
    comments: Mapped[str | None] = mapped_column(Text)
    correction: Mapped[str | None] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String, server_default="seed")
    review_status: Mapped[str] = mapped_column(String, server_default="new")
    content_hash: Mapped[str | None] = mapped_column(CHAR(64))
    prompt_hash: Mapped[str | None] = mapped_column(CHAR(64))
    experiment_id: Mapped[str | None] = mapped_column(String)
    arm_a: Mapped[str | None] = mapped_column(String)
    arm_b: Mapped[str | None] = mapped_column(String)
    rater_specialty: Mapped[str | None] = mapped_column(String)
    consent_scope: Mapped[str | None] = mapped_column(String)  # in force when it was judged; null where none
    active_ms: Mapped[int | None] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(Integer, server_default="1")
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    withdrawn_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    __table_args__ = (
        Index("rlhf_preferences_clinician_idx", "clinician_id"),
        Index(
            "rlhf_preferences_live_idx",
            "interaction_a",
            "interaction_b",
            "clinician_id",
            unique=True,
            postgresql_where=text("withdrawn_at IS NULL"),
        ),
    )


class Revision(Table):
    """What a judgement was before it was edited; `before` may hold sealed text."""

    __tablename__ = "revisions"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    target: Mapped[str] = mapped_column(String)
    revision: Mapped[int] = mapped_column(Integer)
    before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    actor_id: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class QueueItem(Table):
    """Something clinicians are asked to judge: one interaction to rate, or two to compare."""

    __tablename__ = "queue_items"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    item_id: Mapped[str] = mapped_column(String, unique=True)
    kind: Mapped[str] = mapped_column(String)  # rate | compare
    interaction_a: Mapped[str] = mapped_column(ForeignKey("interactions.interaction_id"))
    interaction_b: Mapped[str | None] = mapped_column(ForeignKey("interactions.interaction_id"))
    overlap: Mapped[int] = mapped_column(Integer, server_default="2")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    __table_args__ = (UniqueConstraint("kind", "interaction_a", "interaction_b", name="queue_items_content_key"),)


class Assignment(Table):
    """A clinician's lease on a queue item; the display order of a comparison is decided and kept here."""

    __tablename__ = "assignments"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    assignment_id: Mapped[str] = mapped_column(String, unique=True)
    item_id: Mapped[str] = mapped_column(ForeignKey("queue_items.item_id", ondelete="CASCADE"))
    clinician_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String, server_default="leased")  # leased | done | skipped
    presented_first: Mapped[str | None] = mapped_column(CHAR(1))
    lease_until: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    result_ids: Mapped[list[str] | None] = mapped_column(JSONB)  # the judgements it led to, for undo
    __table_args__ = (UniqueConstraint("item_id", "clinician_id", name="assignments_item_id_clinician_id_key"),)
