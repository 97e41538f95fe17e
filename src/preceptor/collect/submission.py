"""A judgement of an assignment in, its rows out; left and right become a and b here, and ten seconds allow an undo."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect import feedback, preferences, store
from preceptor.collect.instruments import landings
from preceptor.collect.interactions import Rater, get_interaction
from preceptor.collect.queue import find_assignment
from preceptor.collect.schemas import FeedbackIn, FieldError, Outcome, PreferenceIn, SubmitIn
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Assignment, Feedback, Preference, QueueItem
from preceptor.errors import ConflictError

Choice = Literal["left", "right", "tie", "both_bad", "cannot_judge"]
UNDO = timedelta(seconds=10)
_RATE_ONLY = ("rating", "thumb", "harm_severity")
_COMPARE_ONLY = ("choice", "strength", "harm_left", "harm_right")


def submit(
    session: Session,
    cipher: TextCipher,
    *,
    assignment_id: str,
    given: SubmitIn,
    rater: Rater,
    source: str = "page",
) -> Assignment:
    """Store the judgement of an assignment; `result_ids` names the rows. A second submit is refused.

    Raises:
        FieldError: fields of the other kind of item, or nothing was judged.
        ConflictError: it was submitted or skipped already, or its lease ran out and others have taken the item.
    """
    assignment = find_assignment(session, assignment_id, rater=rater)
    if assignment.state == "skipped":
        raise ConflictError("This assignment is skipped already. Ask for the next one.")
    item = session.scalars(sa.select(QueueItem).where(QueueItem.item_id == assignment.item_id).with_for_update()).one()
    land = _rate if item.kind == "rate" else _compare
    if assignment.state == "done":
        _demand_repeat(session, lambda: land(session, cipher, assignment, item, given, rater, source))
        return assignment
    done = session.scalar(
        sa.select(sa.func.count())
        .select_from(Assignment)
        .where(Assignment.item_id == item.item_id, Assignment.state == "done")
    )
    if (done or 0) >= item.overlap:
        raise ConflictError("The lease ran out and enough others have judged this item. Ask for the next one.")
    assignment.result_ids = land(session, cipher, assignment, item, given, rater, source)
    assignment.state = "done"
    assignment.completed_at = session.scalar(sa.select(sa.func.now()))
    session.flush()
    return assignment


def skip(session: Session, *, assignment_id: str, rater: Rater) -> Assignment:
    """Pass an item on to others; repeating it changes nothing.

    Raises:
        ConflictError: it was judged already.
    """
    assignment = find_assignment(session, assignment_id, rater=rater)
    if assignment.state == "done":
        raise ConflictError("This assignment is judged already. Undo it first.")
    assignment.state = "skipped"
    session.flush()
    return assignment


def undo(session: Session, *, assignment_id: str, rater: Rater, within: timedelta = UNDO) -> Assignment:
    """Take a submit or a skip back: what it stored is withdrawn or reverted, and the item is leased again.

    Raises:
        ConflictError: it is not submitted, or more than ten seconds have passed.
    """
    assignment = find_assignment(session, assignment_id, rater=rater)
    if assignment.state == "leased":
        raise ConflictError("There is nothing to undo: this assignment is not judged.")
    now = session.scalar(sa.select(sa.func.now())) or datetime.now(UTC)
    if assignment.completed_at is not None and now - assignment.completed_at > within:
        raise ConflictError("Undo is possible for ten seconds. Change or withdraw the judgement instead.")
    made = assignment.result_ids or []
    for rating in session.scalars(sa.select(Feedback).where(Feedback.feedback_id.in_(made))):
        store.revert(session, rating, actor_id=rater.user_id)
    for comparison in session.scalars(sa.select(Preference).where(Preference.preference_id.in_(made))):
        store.revert(session, comparison, actor_id=rater.user_id)
    assignment.state, assignment.completed_at, assignment.result_ids = "leased", None, None
    assignment.lease_until = now + timedelta(minutes=30)
    session.flush()
    return assignment


def choice_to_outcome(choice: Choice, *, presented_first: str) -> Outcome:
    """Left and right in terms of the stored order; `presented_first` was on the left."""
    if choice == "left":
        return "a" if presented_first == "a" else "b"
    if choice == "right":
        return "b" if presented_first == "a" else "a"
    return choice


def _demand_repeat(session: Session, land: Callable[[], list[str]]) -> None:
    """Let a double click pass: the same judgement again changes nothing, another one is refused."""
    with session.begin_nested():
        if land():
            raise ConflictError("This assignment is judged already. Undo it first, or change the judgement.")


def _refuse(given: SubmitIn, names: tuple[str, ...], *, kind: str) -> None:
    sent = [name for name in names if getattr(given, name) is not None]
    if sent:
        raise FieldError(f"This item is for {kind}; {', '.join(sent)} does not belong to it", *sent)


def _rate(
    session: Session,
    cipher: TextCipher,
    assignment: Assignment,  # noqa: ARG001 - one signature for both kinds
    item: QueueItem,
    given: SubmitIn,
    rater: Rater,
    source: str,
) -> list[str]:
    _refuse(given, _COMPARE_ONLY, kind="rating")
    sent = given.model_dump(exclude_unset=True, exclude=set(_COMPARE_ONLY))
    parts = landings(FeedbackIn(**sent))
    judged = get_interaction(session, item.interaction_a)
    landed = feedback.land(session, cipher, parts=parts, judged=judged, rater=rater, source=source)
    return [one.row.feedback_id for one in landed if one.status != "unchanged"]


def _compare(
    session: Session,
    cipher: TextCipher,
    assignment: Assignment,
    item: QueueItem,
    given: SubmitIn,
    rater: Rater,
    source: str,
) -> list[str]:
    _refuse(given, _RATE_ONLY, kind="comparing")
    if given.choice is None:
        raise FieldError("A comparison needs a choice", "choice")
    first = assignment.presented_first or "a"
    on_a, on_b = (given.harm_left, given.harm_right) if first == "a" else (given.harm_right, given.harm_left)
    judged = PreferenceIn(
        preferred=choice_to_outcome(given.choice, presented_first=first),
        strength=given.strength if given.choice in {"left", "right"} else None,
        presented_first=first,
        blinded=True,
        harm_a=on_a,
        harm_b=on_b,
        reasons=given.reasons,
        comments=given.comments,
        correction=given.correction,
        active_ms=given.active_ms,
    )
    a, b = (get_interaction(session, name or "") for name in (item.interaction_a, item.interaction_b))
    compared = preferences.compare_interactions(a, b, cipher=cipher)
    row, status = preferences.land(session, cipher, given=judged, compared=compared, rater=rater, source=source)
    return [row.preference_id] if status != "unchanged" else []
