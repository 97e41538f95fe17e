"""A clinician's judgement of one response in, its rows out: one live row for each answer, rater and instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect import interactions, store
from preceptor.collect.consent import consent_scope
from preceptor.collect.ids import content_hash, new_id
from preceptor.collect.instruments import THUMBS, Landing, feedback_type, landings
from preceptor.collect.interactions import Rater
from preceptor.collect.schemas import FeedbackEdit, FeedbackIn, FieldError
from preceptor.collect.texts import get_text, put_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Feedback, Interaction
from preceptor.errors import ConflictError


class AmbiguousInteractionError(ConflictError):
    """Several answers fit a judgement; `interaction_ids` names them, newest first."""

    def __init__(self, interaction_ids: Sequence[str]) -> None:
        super().__init__("Several answers of this session fit. Send the interaction_id of the one that was judged.")
        self.interaction_ids = list(interaction_ids)


@dataclass(frozen=True)
class Landed:
    """One stored row and what happened to it: created, updated or unchanged."""

    row: Feedback
    status: str


def record_feedback(
    session: Session, cipher: TextCipher, *, given: FeedbackIn, rater: Rater, source: str = "api"
) -> list[Landed]:
    """Store a judgement. The first row is the primary one; a repeat replaces the rater's own live rows.

    Raises:
        FieldError: fields are missing or contradict each other.
        NotFoundError: the interaction is not there, or not the rater's to judge.
        AmbiguousInteractionError: session and agent fit more than one answer.
    """
    parts = landings(given)
    judged = _resolve(session, cipher, given=given, rater=rater)
    return land(session, cipher, parts=parts, judged=judged, rater=rater, source=source)


def land(
    session: Session,
    cipher: TextCipher,
    *,
    parts: Sequence[Landing],
    judged: Interaction,
    rater: Rater,
    source: str,
) -> list[Landed]:
    """Create or replace the rater's row of each instrument for one answer."""
    store.lock(session, "feedback", rater.user_id, judged.interaction_id)
    live = session.scalars(
        sa.select(Feedback).where(
            Feedback.interaction_id == judged.interaction_id,
            Feedback.clinician_id == rater.user_id,
            Feedback.withdrawn_at.is_(None),
        )
    )
    by_instrument = {row.instrument: row for row in live}
    landed = []
    for part in parts:
        row = by_instrument.get(part.instrument)
        if row is None:
            row = _insert(session, cipher, part=part, judged=judged, rater=rater, source=source)
            landed.append(Landed(row, "created"))
        else:
            changes = part.values | {"feedback_type": part.feedback_type}
            changes.pop("active_ms", None)  # a slower repeat is not another judgement
            changed = store.revise(session, row, changes, cipher=cipher, actor_id=rater.user_id)
            landed.append(Landed(row, "updated" if changed else "unchanged"))
    return landed


def edit_feedback(
    session: Session,
    cipher: TextCipher,
    *,
    feedback_id: str,
    given: FeedbackEdit,
    rater: Rater,
    expected_revision: int | None = None,
) -> Feedback:
    """Change one's own judgement; the former values are kept as a revision.

    Raises:
        FieldError: a field does not belong to this row's instrument, or the row would say nothing.
    """
    row = store.find(session, Feedback, feedback_id, rater=rater)
    store.demand_owner(row, rater)
    session.refresh(row, with_for_update=True)
    store.demand_revision(row, expected_revision)
    if row.withdrawn_at is not None:
        raise ConflictError("This judgement was withdrawn. Judge the answer again instead.")
    changes = given.model_dump(exclude_unset=True)
    wanted = {"stars": "rating", "thumbs": "thumb", "comment": "comments", "correction": "correction"}
    own = wanted.get(row.instrument or "stars", "rating")
    for name in ("rating", "thumb", "correction"):
        if name in changes and name != own:
            raise FieldError(f"This judgement is made with {own}; {name} is a judgement of its own", name)
    if own in changes and changes[own] is None:
        raise FieldError(f"{own} cannot be emptied; withdraw the judgement instead", own)
    if "thumb" in changes:
        changes["thumb"] = THUMBS[changes["thumb"]]
    if own in {"rating", "thumb"} and own in changes:
        changes["feedback_type"] = feedback_type(rating=changes.get("rating"), thumb=changes.get("thumb"))
    store.revise(session, row, changes, cipher=cipher, actor_id=rater.user_id)
    return row


def _resolve(session: Session, cipher: TextCipher, *, given: FeedbackIn, rater: Rater) -> Interaction:
    """Find what was judged: by id, by its text, or as the only answer of the session that is not judged yet."""
    texts = (given.user_query, given.agent_response)
    if (texts[0] is None) != (texts[1] is None):
        raise FieldError("user_query and agent_response come together", _missing(given, "user_query", "agent_response"))
    if given.interaction_id is not None:
        found = interactions.get_interaction(session, given.interaction_id, rater=rater)
        for name in ("session_id", "agent_name"):
            value = getattr(given, name)
            if value is not None and value != getattr(found, name):
                raise FieldError(f"{name} is not the one of this interaction", name)
        if texts[0] is not None and texts[1] is not None and content_hash(*texts) != found.content_hash:  # type: ignore[arg-type]
            raise FieldError("The text is not the one of this interaction; leave it out", "agent_response")
        return found
    absent = [name for name in ("session_id", "agent_name") if getattr(given, name) is None]
    if absent or given.session_id is None or given.agent_name is None:
        raise FieldError("Name what was judged: interaction_id, or session_id and agent_name", *absent)
    session_id, agent_name = given.session_id, given.agent_name
    if texts[0] is not None and texts[1] is not None:
        return interactions.inline_interaction(
            session,
            cipher,
            session_id=session_id,
            agent_name=agent_name,
            texts=(texts[0], texts[1]),
            created_by=rater.user_id,
        )
    store.lock(session, "resolve", rater.user_id, session_id, agent_name)
    candidates = interactions.of_session(session, session_id=session_id, agent_name=agent_name, rater=rater)
    if not candidates:
        raise FieldError(
            "No answer of this agent is known in this session; send interaction_id, or both texts",
            "user_query",
            "agent_response",
        )
    rated = set(
        session.scalars(
            sa.select(Feedback.interaction_id).where(
                Feedback.interaction_id.in_([candidate.interaction_id for candidate in candidates]),
                Feedback.clinician_id == rater.user_id,
                Feedback.withdrawn_at.is_(None),
            )
        )
    )
    open_ones = [candidate for candidate in candidates if candidate.interaction_id not in rated]
    fitting = open_ones or candidates
    if len(fitting) > 1:
        raise AmbiguousInteractionError([candidate.interaction_id for candidate in fitting])
    return fitting[0]


def _missing(given: FeedbackIn, *names: str) -> str:
    return next(name for name in names if getattr(given, name) is None)


def _insert(
    session: Session, cipher: TextCipher, *, part: Landing, judged: Interaction, rater: Rater, source: str
) -> Feedback:
    row = Feedback(
        feedback_id=new_id("fb"),
        session_id=judged.session_id,
        agent_name=judged.agent_name,
        interaction_id=judged.interaction_id,
        instrument=part.instrument,
        feedback_type=part.feedback_type,
        clinician_id=rater.user_id,
        source=source,
        content_hash=judged.content_hash,
        prompt_hash=judged.prompt_hash,
        experiment_id=judged.experiment_id,
        arm=judged.arm,
        model_digest=judged.model_digest,
        rater_specialty=rater.specialty,
        consent_scope=consent_scope(session, rater.user_id),
        **{name: value for name, value in part.values.items() if name not in {"comments", "correction"}},
    )
    put_text(row, "user_query", get_text(judged, "prompt", cipher=cipher), cipher=cipher)
    put_text(row, "agent_response", get_text(judged, "response", cipher=cipher), cipher=cipher)
    put_text(row, "comments", part.values.get("comments"), cipher=cipher)
    put_text(row, "correction", part.values.get("correction"), cipher=cipher)
    session.add(row)
    session.flush()
    return row
