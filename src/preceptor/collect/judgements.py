"""The two kinds of judgement by name, for doors that list, read, review, withdraw and export either of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from preceptor.collect import records, store
from preceptor.collect.interactions import Rater
from preceptor.collect.texts import public_id
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Feedback, Preference
from preceptor.errors import AccessError

Row = Feedback | Preference


@dataclass(frozen=True)
class Kind:
    """One kind of judgement: its table, and how a row is shown in full or as the seed document's record."""

    name: str
    table: type[Feedback] | type[Preference]
    detail: Callable[..., dict[str, Any]]
    record: Callable[..., dict[str, Any]]


FEEDBACK = Kind("feedback", Feedback, records.feedback_detail, records.feedback_record)
PREFERENCES = Kind("preferences", Preference, records.preference_detail, records.preference_record)
KINDS = {kind.name: kind for kind in (FEEDBACK, PREFERENCES)}


def find(session: Session, kind: Kind, judgement_id: str, *, rater: Rater) -> Row:
    """One judgement that the rater may see, or NotFoundError."""
    return store.find(session, kind.table, judgement_id, rater=rater)


def listing(
    session: Session, kind: Kind, *, rater: Rater, filters: store.Filters, before: int | None, limit: int
) -> Sequence[Row]:
    """A page of judgements that the rater may see, newest first."""
    return store.listing(session, kind.table, rater=rater, filters=filters, before=before, limit=limit)


def show(row: Row, kind: Kind, *, cipher: TextCipher, rater: Rater) -> dict[str, Any]:
    """The record as this account may read it: clinicians stay blind to arms, ML engineers see no text."""
    shown = kind.detail(row, cipher=cipher, blinded=rater.role == "clinician")
    return records.without_text(shown) if rater.role == "ml_engineer" else shown


def review(session: Session, kind: Kind, judgement_id: str, *, rater: Rater, status: str) -> Row:
    """Set a curator's verdict."""
    row = find(session, kind, judgement_id, rater=rater)
    row.review_status = status
    session.flush()
    return row


def withdraw(session: Session, kind: Kind, judgement_id: str, *, rater: Rater) -> Row:
    """Take a judgement back: its owner may, and curators and administrators; repeating it changes nothing."""
    row = find(session, kind, judgement_id, rater=rater)
    if row.clinician_id != rater.user_id and rater.role not in {"curator", "admin"}:
        raise AccessError("Only the clinician who judged, a curator or an administrator may withdraw a judgement.")
    store.withdraw(session, row)
    return row


def identify(row: Row) -> str:
    return public_id(row)
