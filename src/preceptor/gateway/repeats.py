"""A chat request with an Idempotency-Key in; the answer that its first copy got, or a claim to answer it, out.

Answers take long, so no transaction waits for them: a claim is a row of its own, and copies that come meanwhile are
told to try again. What is kept of an answer holds no text; a replay reads the texts from the stored interactions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from preceptor.collect.interactions import get_interaction
from preceptor.collect.texts import get_text
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import IdempotencyKey
from preceptor.server.api.idempotency import Copy, find
from preceptor.server.deps import Installation
from preceptor.server.errors import Problem

_CLAIMED = 0  # the status of a row whose answer is not there yet
_ABANDONED = timedelta(minutes=10)  # a claim this old was left by a server that is gone


def claim(found: Installation, copy: Copy) -> dict[str, Any] | None:
    """The answer of the first copy; None when this is the first, which must then `settle` or `give_up`.

    Raises:
        Problem: the key was used with another body (422), or its first copy is being answered (409).
    """
    with session_scope(found.engine) as session:
        there = find(session, found, copy)
        if there is not None and there.status_code != _CLAIMED:
            return _with_texts(found, session, there.response)
        if there is None:
            session.add(copy.row(_CLAIMED, {}))
        elif session.scalar(sa.select(sa.func.now() - there.created_at > _ABANDONED)):
            there.created_at = sa.func.now()
        else:
            raise Problem("in-progress", headers={"Retry-After": "2"})
    return None


def settle(found: Installation, copy: Copy, answer: dict[str, Any]) -> None:
    """Keep an answer, without its texts, for the copies that will come."""
    choices = [choice | {"message": choice["message"] | {"content": None}} for choice in answer["choices"]]
    with session_scope(found.engine) as session:
        kept = {"status_code": 200, "response": answer | {"choices": choices}}
        session.execute(sa.update(IdempotencyKey).where(*_own(copy)).values(**kept))


def give_up(found: Installation, copy: Copy) -> None:
    """Free the key of a request that could not be answered."""
    with session_scope(found.engine) as session:
        session.execute(sa.delete(IdempotencyKey).where(*_own(copy)))


def _own(copy: Copy) -> tuple[sa.ColumnElement[bool], ...]:
    columns = IdempotencyKey
    return columns.user_id == copy.user_id, columns.key == copy.key, columns.status_code == _CLAIMED


def _with_texts(found: Installation, session: sa.orm.Session, answer: dict[str, Any]) -> dict[str, Any]:
    choices = []
    for choice in answer["choices"]:
        row = get_interaction(session, choice["preceptor"]["interaction_id"])
        text = get_text(row, "response", cipher=found.cipher)
        choices.append(choice | {"message": choice["message"] | {"content": text}})
    return answer | {"choices": choices}
