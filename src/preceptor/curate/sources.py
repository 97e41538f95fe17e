"""Rows of the raw tables in, judgements of one shape out, with their texts opened and a keyed hash of all of it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.curate.consent import ConsentState, reason_against
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.ops import User
from preceptor.db.tables.raw import Feedback, Interaction, Preference
from preceptor.errors import StorageError

TEXT_FIELDS = ("prompt", "response_a", "response_b", "correction")
FEEDBACK_COLUMNS = {"prompt": "user_query", "response_a": "agent_response", "correction": "correction"}
PREFERENCE_COLUMNS = {name: name for name in TEXT_FIELDS}


@dataclass(frozen=True, slots=True)
class Source:
    """One raw judgement, whichever table and door it came in by."""

    kind: str
    source_id: str
    revision: int
    texts: Mapping[str, str]
    """The fields among TEXT_FIELDS that hold text."""
    known_identifiers: tuple[str, ...]
    instrument: str
    rating: int | None
    thumb: int | None
    outcome: str | None
    strength: int | None
    harm_a: int | None
    harm_b: int | None
    clinician_id: int | None
    rater_specialty: str | None
    agent_name: str | None
    specialty: str | None
    is_simulated: bool
    judged_at: datetime | None
    refusal: str | None
    """Why it may not be learned from; None where it may."""

    def digest(self, key: bytes) -> str:
        """Return a keyed hash of everything that curation passes on, so that any change is noticed."""
        parts = [
            self.kind, self.source_id, self.revision, sorted(self.texts.items()), self.known_identifiers,
            self.instrument, self.rating, self.thumb, self.outcome, self.strength, self.harm_a, self.harm_b,
            self.clinician_id, self.rater_specialty, self.agent_name, self.specialty, self.is_simulated,
        ]  # fmt: skip
        return hmac.new(key, json.dumps(parts, ensure_ascii=False).encode(), hashlib.sha256).hexdigest()


def count_sources(session: Session, agent_name: str | None) -> int:
    """Return how many raw judgements there are."""
    return sum(
        session.scalar(sa.select(sa.func.count()).select_from(table).where(_of_agent(table, agent_name))) or 0
        for table in (Feedback, Preference)
    )


def feedback_after(
    session: Session,
    last_id: int,
    limit: int,
    *,
    agent_name: str | None,
    cipher: TextCipher,
    consents: Mapping[int, ConsentState],
) -> Iterator[tuple[int, Source]]:
    """Yield `(row id, judgement)` of the next rows of `rlhf_feedback` in the order of their ids."""
    query = (
        sa.select(Feedback, User.is_simulated)
        .outerjoin(User, User.id == Feedback.clinician_id)
        .where(Feedback.id > last_id, _of_agent(Feedback, agent_name))
        .order_by(Feedback.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    shown = _interactions(session, [row.interaction_id for row, _ in rows])
    for row, is_simulated in rows:
        interaction = shown.get(row.interaction_id or "")
        opened = _open(row, [interaction] if interaction else [], FEEDBACK_COLUMNS, cipher=cipher)
        thumb = row.thumb if row.instrument is not None or row.rating is not None else _thumb(row.feedback_type)
        yield (
            row.id,
            Source(
                kind="feedback",
                source_id=row.feedback_id,
                revision=row.revision,
                texts=opened.texts,
                known_identifiers=opened.known_identifiers,
                instrument=row.instrument or _instrument(row),
                rating=row.rating,
                thumb=thumb,
                outcome=None,
                strength=None,
                harm_a=row.harm_severity,
                harm_b=None,
                clinician_id=row.clinician_id,
                rater_specialty=row.rater_specialty,
                agent_name=row.agent_name,
                specialty=interaction.specialty if interaction else None,
                is_simulated=bool(is_simulated),
                judged_at=row.timestamp,
                refusal=opened.refusal or _refusal(row, consents),
            ),
        )


def preferences_after(
    session: Session,
    last_id: int,
    limit: int,
    *,
    agent_name: str | None,
    cipher: TextCipher,
    consents: Mapping[int, ConsentState],
) -> Iterator[tuple[int, Source]]:
    """Yield `(row id, judgement)` of the next rows of `rlhf_preferences` in the order of their ids."""
    query = (
        sa.select(Preference, User.is_simulated)
        .outerjoin(User, User.id == Preference.clinician_id)
        .where(Preference.id > last_id, _of_agent(Preference, agent_name))
        .order_by(Preference.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    shown = _interactions(session, [name for row, _ in rows for name in (row.interaction_a, row.interaction_b)])
    for row, is_simulated in rows:
        sides = [shown[name] for name in (row.interaction_a, row.interaction_b) if name in shown]
        opened = _open(row, sides, PREFERENCE_COLUMNS, cipher=cipher)
        yield (
            row.id,
            Source(
                kind="preference",
                source_id=row.preference_id,
                revision=row.revision,
                texts=opened.texts,
                known_identifiers=opened.known_identifiers,
                instrument="comparison",
                rating=None,
                thumb=None,
                outcome=row.outcome or row.preferred,
                strength=row.strength,
                harm_a=row.harm_a,
                harm_b=row.harm_b,
                clinician_id=row.clinician_id,
                rater_specialty=row.rater_specialty,
                agent_name=row.agent_name or next((side.agent_name for side in sides), None),
                specialty=next((side.specialty for side in sides if side.specialty), None),
                is_simulated=bool(is_simulated),
                judged_at=row.timestamp,
                refusal=opened.refusal or _refusal(row, consents),
            ),
        )


def _refusal(row: Feedback | Preference, consents: Mapping[int, ConsentState]) -> str | None:
    return reason_against(
        withdrawn=row.withdrawn_at is not None,
        review_status=row.review_status,
        source=row.source,
        clinician_id=row.clinician_id,
        consent=consents.get(row.clinician_id) if row.clinician_id is not None else None,
    )


def _instrument(row: Feedback) -> str:
    """Tell what a row written by plain SQL was judged with."""
    if row.rating is not None:
        return "stars"
    return "thumbs" if row.feedback_type in ("positive", "negative") else "comment"


def _thumb(feedback_type: str | None) -> int | None:
    return {"positive": 1, "negative": -1}.get(feedback_type or "")


@dataclass(frozen=True, slots=True)
class _Opened:
    texts: dict[str, str]
    known_identifiers: tuple[str, ...]
    refusal: str | None


def _open(
    row: Feedback | Preference, sides: Sequence[Interaction], columns: Mapping[str, str], *, cipher: TextCipher
) -> _Opened:
    """Open the texts of a row and the identifiers that came with its interactions; damage excludes the row alone."""
    name = row.feedback_id if isinstance(row, Feedback) else row.preference_id
    try:
        texts = {
            field: cipher.open(getattr(row, column), table=row.__tablename__, column=column, row=name) or ""
            for field, column in columns.items()
        }
        known = (
            cipher.open(value, table="interactions", column="known_identifiers", row=side.interaction_id)
            for side in sides
            for value in side.known_identifiers or ()
        )
        identifiers = tuple(dict.fromkeys(value for value in known if value))
    except StorageError:
        return _Opened({}, (), "the stored text does not open")
    return _Opened({field: text for field, text in texts.items() if text.strip()}, identifiers, None)


def _interactions(session: Session, names: Sequence[str | None]) -> dict[str, Interaction]:
    wanted = {name for name in names if name is not None}
    if not wanted:
        return {}
    found = session.scalars(sa.select(Interaction).where(Interaction.interaction_id.in_(wanted)))
    return {row.interaction_id: row for row in found}


def _of_agent(table: type[Feedback] | type[Preference], agent_name: str | None) -> sa.ColumnElement[bool]:
    return sa.true() if agent_name is None else table.agent_name == agent_name
