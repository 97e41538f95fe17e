"""A judgement's row in; revised, withdrawn, reviewed or listed rows out, every change kept as a revision."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect.interactions import SEE_ALL, Rater
from preceptor.collect.texts import FEEDBACK_TEXTS, PREFERENCE_TEXTS, get_text, public_id, put_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Feedback, Preference, Revision
from preceptor.errors import AccessError, ConflictError, NotFoundError

# Whose rows an account may read; what of them is shown is decided where they are shown.
READ_ALL = SEE_ALL | {"ml_engineer"}

Judgement = TypeVar("Judgement", bound=Feedback | Preference)


class ChangedMeanwhileError(ConflictError):
    """The record has another revision than the caller read."""


@dataclass(frozen=True)
class Filters:
    """Which judgements to list; None means any."""

    agent_name: str | None = None
    session_id: str | None = None
    instrument: str | None = None
    review_status: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    include_withdrawn: bool = False


def lock(session: Session, *parts: object) -> None:
    """Serialize writers of the same thing until the transaction ends, so that parallel copies make one row."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def find(session: Session, table: type[Judgement], judgement_id: str, *, rater: Rater) -> Judgement:
    """One judgement, if the rater may see it: clinicians and services their own, curating roles all.

    Raises:
        NotFoundError: there is none, or it is not theirs.
    """
    row = session.scalar(sa.select(table).where(_id_column(table) == judgement_id, _owned(table, rater)))
    if row is None:
        raise NotFoundError("There is no judgement with this id for this account. Check the id.")
    return row


def listing(
    session: Session, table: type[Judgement], *, rater: Rater, filters: Filters, before: int | None, limit: int
) -> Sequence[Judgement]:
    """Judgements newest first, by keyset: `before` is the internal id of the last row already seen."""
    query = sa.select(table).where(_owned(table, rater), *conditions(table, filters))
    if before is not None:
        query = query.where(table.id < before)
    return session.scalars(query.order_by(table.id.desc()).limit(limit)).all()


def revise(
    session: Session,
    row: Feedback | Preference,
    changes: Mapping[str, Any],
    *,
    cipher: TextCipher,
    actor_id: int | None,
) -> bool:
    """Apply new values and keep the old ones; returns False when nothing would change."""
    text_columns = FEEDBACK_TEXTS if isinstance(row, Feedback) else PREFERENCE_TEXTS
    current = {
        name: get_text(row, name, cipher=cipher) if name in text_columns else getattr(row, name) for name in changes
    }
    if current == dict(changes):
        return False
    before = {name: getattr(row, name) for name in changes}
    session.add(Revision(target=public_id(row), revision=row.revision, before=before, actor_id=actor_id))
    for name, value in changes.items():
        if name in text_columns:
            put_text(row, name, value, cipher=cipher)
        else:
            setattr(row, name, value)
    row.revision += 1
    row.review_status = "new"
    row.updated_at = session.scalar(sa.select(sa.func.now())) or row.updated_at
    session.flush()
    return True


def revert(session: Session, row: Feedback | Preference, *, actor_id: int) -> None:
    """Take the last change back: the values before it return as a new revision; a first version is withdrawn."""
    last = session.scalar(
        sa.select(Revision).where(Revision.target == public_id(row)).order_by(Revision.id.desc()).limit(1)
    )
    if row.revision == 1 or last is None:
        withdraw(session, row)
        return
    changed = {name: getattr(row, name) for name in last.before}
    session.add(Revision(target=public_id(row), revision=row.revision, before=changed, actor_id=actor_id))
    for name, value in last.before.items():  # stored values, sealed as they were
        setattr(row, name, value)
    row.revision += 1
    session.flush()


def withdraw(session: Session, row: Feedback | Preference) -> None:
    """Take a judgement out of every future dataset; the row stays as a tombstone."""
    if row.withdrawn_at is None:
        row.withdrawn_at = session.scalar(sa.select(sa.func.now()))
        session.flush()


def demand_owner(row: Feedback | Preference, rater: Rater) -> None:
    """Only the clinician who judged may change the judgement."""
    if row.clinician_id != rater.user_id:
        raise AccessError("Only the clinician who judged may change this judgement.")


def demand_revision(row: Feedback | Preference, expected: int | None) -> None:
    """Refuse a change that was made against an older revision."""
    if expected is not None and row.revision != expected:
        raise ChangedMeanwhileError("The record changed since it was read. Read it again, then change it.")


def _id_column(table: type[Judgement]) -> sa.ColumnElement[str]:
    return table.feedback_id if table is Feedback else table.preference_id  # type: ignore[attr-defined, return-value]


def _owned(table: type[Judgement], rater: Rater) -> sa.ColumnElement[bool]:
    return sa.true() if rater.role in READ_ALL else table.clinician_id == rater.user_id


def conditions(table: type[Judgement], filters: Filters) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if not filters.include_withdrawn:
        found.append(table.withdrawn_at.is_(None))
    for name in ("agent_name", "session_id", "review_status"):
        value = getattr(filters, name)
        if value is not None:
            found.append(getattr(table, name) == value)
    if filters.instrument is not None:
        found.append(Feedback.instrument == filters.instrument if table is Feedback else sa.false())
    if filters.created_from is not None:
        found.append(table.timestamp >= filters.created_from)
    if filters.created_to is not None:
        found.append(table.timestamp < filters.created_to)
    return found
