"""A stored judgement in, the record that callers read or export out; times end in Z, texts are opened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from preceptor.collect.texts import get_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Feedback, Interaction, Preference

_FEEDBACK_MORE = (
    "interaction_id", "instrument", "harm_severity", "reasons", "source", "review_status", "content_hash",
    "prompt_hash", "experiment_id", "arm", "model_digest", "rater_specialty", "consent_scope", "active_ms", "revision",
)  # fmt: skip
_PREFERENCE_MORE = (
    "session_id", "agent_name", "interaction_a", "interaction_b", "outcome", "strength", "presented_first", "blinded",
    "harm_a", "harm_b", "reasons", "source", "review_status", "content_hash", "prompt_hash", "experiment_id", "arm_a",
    "arm_b", "rater_specialty", "consent_scope", "active_ms", "revision",
)  # fmt: skip
# The arm and the model behind an answer stay hidden from whoever still judges.
_BLINDED = frozenset({"experiment_id", "arm", "arm_a", "arm_b", "model_digest"})


def utc(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second where there is no fraction, ending in Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment is not None else None


def feedback_record(row: Feedback, *, cipher: TextCipher) -> dict[str, Any]:
    """The seed document's feedback record, field for field; a correction, which it has no field for, is added."""
    correction = get_text(row, "correction", cipher=cipher)
    return {
        "feedback_id": row.feedback_id,
        "session_id": row.session_id,
        "agent_name": row.agent_name,
        "user_query": get_text(row, "user_query", cipher=cipher),
        "agent_response": get_text(row, "agent_response", cipher=cipher),
        "rating": row.rating,
        "feedback_type": row.feedback_type,
        "clinician_id": row.clinician_id,
        "timestamp": utc(row.timestamp),
        "comments": get_text(row, "comments", cipher=cipher),
        **({"correction": correction} if correction is not None else {}),
    }


def feedback_detail(row: Feedback, *, cipher: TextCipher, blinded: bool = False) -> dict[str, Any]:
    """The record with everything else that is known of the judgement."""
    record = feedback_record(row, cipher=cipher)
    record["thumb"] = {1: "up", -1: "down"}.get(row.thumb or 0)
    record["correction"] = get_text(row, "correction", cipher=cipher)
    record |= {name: getattr(row, name) for name in _FEEDBACK_MORE if not (blinded and name in _BLINDED)}
    return record | {"updated_at": utc(row.updated_at), "withdrawn_at": utc(row.withdrawn_at)}


def preference_record(row: Preference, *, cipher: TextCipher) -> dict[str, Any]:
    """The seed document's preference columns; an outcome that `preferred` cannot say is added."""
    return {
        "preference_id": row.preference_id,
        "prompt": get_text(row, "prompt", cipher=cipher),
        "response_a": get_text(row, "response_a", cipher=cipher),
        "response_b": get_text(row, "response_b", cipher=cipher),
        "preferred": row.preferred,
        "clinician_id": row.clinician_id,
        "timestamp": utc(row.timestamp),
        **({"outcome": row.outcome} if row.outcome not in {None, "a", "b"} else {}),
    }


def preference_detail(row: Preference, *, cipher: TextCipher, blinded: bool = False) -> dict[str, Any]:
    """The record with everything else that is known of the comparison."""
    record = preference_record(row, cipher=cipher)
    for name in ("comments", "correction"):
        record[name] = get_text(row, name, cipher=cipher)
    record |= {name: getattr(row, name) for name in _PREFERENCE_MORE if not (blinded and name in _BLINDED)}
    return record | {"updated_at": utc(row.updated_at), "withdrawn_at": utc(row.withdrawn_at)}


def interaction_detail(row: Interaction, *, cipher: TextCipher, blinded: bool = False) -> dict[str, Any]:
    """An interaction as callers read it; known identifiers are written, never read back."""
    hidden = {"experiment_id", "arm", "model_name", "model_digest", "prompt_version", "sampling"} if blinded else set()
    plain = (
        "interaction_id", "external_id", "session_id", "agent_name", "content_hash", "prompt_hash", "model_name",
        "model_digest", "prompt_version", "sampling", "experiment_id", "arm", "specialty", "finished", "source",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in plain if name not in hidden},
        "prompt": get_text(row, "prompt", cipher=cipher),
        "response": get_text(row, "response", cipher=cipher),
        "created_at": utc(row.created_at),
    }


def without_text(record: dict[str, Any]) -> dict[str, Any]:
    """The same record for those who may count but not read: every text is null."""
    texts = {"user_query", "agent_response", "comments", "correction", "prompt", "response", "response_a", "response_b"}
    return {name: None if name in texts else value for name, value in record.items()}
