"""A raw row in, its clinical text sealed or opened; the row's public id binds the seal."""

from __future__ import annotations

from collections.abc import Sequence

from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Feedback, Interaction, Preference

FEEDBACK_TEXTS = ("user_query", "agent_response", "comments", "correction")
PREFERENCE_TEXTS = ("prompt", "response_a", "response_b", "comments", "correction")
INTERACTION_TEXTS = ("prompt", "response")


def public_id(row: Feedback | Preference | Interaction) -> str:
    """The id that callers see."""
    if isinstance(row, Feedback):
        return row.feedback_id
    return row.preference_id if isinstance(row, Preference) else row.interaction_id


def put_text(row: Feedback | Preference | Interaction, column: str, text: str | None, *, cipher: TextCipher) -> None:
    """Store a text, sealed where a key is configured."""
    setattr(row, column, cipher.seal(text, table=row.__tablename__, column=column, row=public_id(row)))


def get_text(row: Feedback | Preference | Interaction, column: str, *, cipher: TextCipher) -> str | None:
    """Read a text.

    Raises:
        StorageError: the value was changed or moved outside of preceptor.
    """
    return cipher.open(getattr(row, column), table=row.__tablename__, column=column, row=public_id(row))


def seal_identifiers(values: Sequence[str] | None, *, interaction_id: str, cipher: TextCipher) -> list[str] | None:
    """Seal each known identifier of a patient (`interactions.known_identifiers`)."""
    if values is None:
        return None
    sealed = (
        cipher.seal(value, table="interactions", column="known_identifiers", row=interaction_id) for value in values
    )
    return [value for value in sealed if value is not None]
