"""What an agent said in, one stored interaction out; found again by id, by external id, or by session and agent."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.collect.ids import content_hash, new_id
from preceptor.collect.schemas import InteractionIn
from preceptor.collect.texts import seal_identifiers
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.ops import User
from preceptor.db.tables.raw import Interaction
from preceptor.errors import ConflictError, NotFoundError

# Judgements by these roles may concern anyone's interactions; clinicians see their own and those of services.
SEE_ALL = frozenset({"curator", "phi_reviewer", "admin"})


@dataclass(frozen=True)
class Rater:
    """Who judges: always the signed-in account, never a field of the request."""

    user_id: int
    role: str = "clinician"
    specialty: str | None = None


def create_interaction(
    session: Session,
    cipher: TextCipher,
    *,
    given: InteractionIn,
    created_by: int | None,
    source: str = "api",
    interaction_id: str | None = None,
) -> tuple[Interaction, bool]:
    """Store an answer. Returns it, and whether it is new: the same `external_id` is stored once.

    The gateway gives the `interaction_id` that it announced before the answer was whole.

    Raises:
        ConflictError: the `external_id` is taken by another text.
    """
    interaction_id = interaction_id or new_id("int")
    texts = given.model_dump(exclude={"prompt", "response", "known_identifiers"})
    values = texts | {
        "interaction_id": interaction_id,
        "prompt": cipher.seal(given.prompt, table="interactions", column="prompt", row=interaction_id),
        "response": cipher.seal(given.response, table="interactions", column="response", row=interaction_id),
        "content_hash": content_hash(given.prompt, given.response),
        "prompt_hash": content_hash(given.prompt),
        "known_identifiers": seal_identifiers(given.known_identifiers, interaction_id=interaction_id, cipher=cipher),
        "source": source,
        "created_by": created_by,
    }
    made = session.scalar(insert(Interaction).values(values).on_conflict_do_nothing().returning(Interaction))
    if made is not None:
        return made, True
    there = session.scalar(sa.select(Interaction).where(Interaction.external_id == given.external_id))
    same = there is not None and (there.content_hash, there.session_id, there.agent_name) == (
        values["content_hash"],
        given.session_id,
        given.agent_name,
    )
    if there is None or not same:
        raise ConflictError("This external_id is stored already with another content. Use another external_id.")
    return there, False


def inline_interaction(
    session: Session, cipher: TextCipher, *, session_id: str, agent_name: str, texts: tuple[str, str], created_by: int
) -> Interaction:
    """The interaction of texts that came with a judgement: one for each session, agent and content."""
    prompt, response = texts
    external_id = f"inline:{content_hash(session_id, agent_name, prompt, response)}"
    given = InteractionIn(
        session_id=session_id, agent_name=agent_name, prompt=prompt, response=response, external_id=external_id
    )
    return create_interaction(session, cipher, given=given, created_by=created_by)[0]


def get_interaction(session: Session, interaction_id: str, *, rater: Rater | None = None) -> Interaction:
    """One interaction, as far as the rater may judge it.

    Raises:
        NotFoundError: there is none, or it belongs to another clinician.
    """
    query = sa.select(Interaction).where(Interaction.interaction_id == interaction_id)
    if rater is not None:
        query = query.where(visible_to(rater))
    found = session.scalar(query)
    if found is None:
        raise NotFoundError("There is no interaction with this id for this account. Check interaction_id.")
    return found


def visible_to(rater: Rater) -> sa.ColumnElement[bool]:
    """Interactions of one's own and of services; a chat of another clinician is not for rating by id."""
    if rater.role in SEE_ALL:
        return sa.true()
    services = sa.select(User.id).where(User.role.in_(("service", "admin", "ml_engineer", "curator")))
    return sa.or_(
        Interaction.created_by.is_(None),
        Interaction.created_by == rater.user_id,
        Interaction.created_by.in_(services),
    )


def of_session(session: Session, *, session_id: str, agent_name: str, rater: Rater) -> list[Interaction]:
    """Every answer of an agent in a session that the rater may judge, newest first; at most 50."""
    query = (
        sa.select(Interaction)
        .where(Interaction.session_id == session_id, Interaction.agent_name == agent_name, visible_to(rater))
        .order_by(Interaction.id.desc())
        .limit(50)
    )
    return list(session.scalars(query))
