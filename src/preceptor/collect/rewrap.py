"""Raw rows sealed under older keys in, the same rows under the first key out, batch by batch, and their count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect.texts import FEEDBACK_TEXTS, INTERACTION_TEXTS, PREFERENCE_TEXTS, public_id
from preceptor.db.encrypted import TextCipher
from preceptor.db.engine import session_scope
from preceptor.db.tables.raw import Feedback, Interaction, Preference, Revision
from preceptor.errors import ConfigError
from preceptor.privacy.cipher import PREFIX, Context, Keyset, is_sealed, rewrap

_BATCH = 500
_COLUMNS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (Interaction, (*INTERACTION_TEXTS, "known_identifiers")),
    (Feedback, FEEDBACK_TEXTS),
    (Preference, PREFERENCE_TEXTS),
    (Revision, ("before",)),
)


def rewrap_rows(engine: sa.Engine, cipher: TextCipher, *, batch: int = _BATCH) -> dict[str, int]:
    """Put every sealed text under the first key; returns how many rows of each table changed.

    Each batch is a transaction, and rows under the first key are passed over, so an interrupted call is repeated.
    Rows that were never sealed stay as they are.

    Raises:
        ConfigError: no key is configured, or a row needs one that is not; what came before it is done.
        StorageError: a value was changed or moved outside of preceptor.
    """
    if cipher.key is None:
        raise ConfigError("PRECEPTOR_ENCRYPTION_KEY is not set: there is no key to put the rows under. Set it.")
    return {table.__tablename__: _table(engine, cipher.key, table, columns, batch) for table, columns in _COLUMNS}


def _table(engine: sa.Engine, key: Keyset, table: type[Any], columns: tuple[str, ...], batch: int) -> int:
    others = f'(^|"){PREFIX}(?!{key.primary}:)'  # sealed, alone or inside JSON, and under another key
    old = sa.or_(*(sa.cast(getattr(table, name), sa.Text).regexp_match(others) for name in columns))
    changed, last = 0, 0
    while True:
        with session_scope(engine) as session:
            query = sa.select(table).where(old, table.id > last).order_by(table.id).limit(batch).with_for_update()
            rows = session.scalars(query).all()
            for row in rows:
                renew = _renewer(session, key, row)
                values = {name: _renewed(getattr(row, name), name, renew) for name in columns}
                session.execute(sa.update(table).where(table.id == row.id).values(values))
            if not rows:
                return changed
            changed, last = changed + len(rows), rows[-1].id


def _renewed(value: Any, column: str, renew: Callable[[str, str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _renewed(one, name, renew) for name, one in value.items()}
    if isinstance(value, list):
        return [_renewed(one, column, renew) for one in value]
    return renew(value, column) if isinstance(value, str) and is_sealed(value) else value


def _renewer(session: Session, key: Keyset, row: Any) -> Callable[[str, str], str]:
    """What renews a sealed value of a row; a revision's values were sealed for the judgement that it is of."""
    if isinstance(row, Revision):
        rating = session.scalar(sa.select(Feedback.id).where(Feedback.feedback_id == row.target))
        table, name = (Preference if rating is None else Feedback).__tablename__, row.target
    else:
        table, name = row.__tablename__, public_id(row)
    return lambda value, column: rewrap(value, key=key, context=Context(table=table, column=column, row=name))
