"""Items to judge in, leases for clinicians out: k raters an item, sides balanced, a lost lease never counts twice."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.collect.ids import new_id
from preceptor.collect.interactions import Rater, get_interaction
from preceptor.collect.preferences import compare_interactions
from preceptor.collect.schemas import FieldError, QueueItemIn
from preceptor.collect.store import lock
from preceptor.collect.texts import get_text
from preceptor.db.encrypted import TextCipher
from preceptor.db.tables.raw import Assignment, QueueItem
from preceptor.errors import NotFoundError

LEASE = timedelta(minutes=30)
_BLOCKS = sorted(set(permutations("aabb")))


@dataclass(frozen=True)
class Card:
    """What a clinician sees: text, never model names or interaction ids. Comparisons have left and right."""

    assignment_id: str
    item_id: str
    kind: str
    agent_name: str
    lease_until: datetime
    prompt: str
    response: str | None = None
    left: str | None = None
    right: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a clinician is: judged and skipped so far, and what is still open to them."""

    done: int
    skipped: int
    remaining: int


def add_item(session: Session, cipher: TextCipher, *, given: QueueItemIn) -> tuple[QueueItem, bool]:
    """Queue something to judge. Returns the item, and whether it is new; the same content is queued once.

    Raises:
        FieldError: a comparison without a second answer, of different prompts or of equal answers.
        NotFoundError: an interaction is not there.
    """
    first = get_interaction(session, given.interaction_a)
    pair: tuple[str, str | None] = (given.interaction_a, given.interaction_b)
    if (given.kind == "compare") != (given.interaction_b is not None):
        raise FieldError("interaction_b belongs to a comparison, and a comparison needs it", "interaction_b")
    if given.interaction_b is not None:
        second = get_interaction(session, given.interaction_b)
        compare_interactions(first, second, cipher=cipher)
        if first.content_hash == second.content_hash:
            raise FieldError("The two responses are the same; there is nothing to compare", "interaction_b")
        low, high = sorted((given.interaction_a, given.interaction_b))
        pair = (low, high)  # canonical order, apart from the order on screen
    lock(session, "queue_item", given.kind, *pair)
    there = session.scalar(
        sa.select(QueueItem).where(
            QueueItem.kind == given.kind,
            QueueItem.interaction_a == pair[0],
            QueueItem.interaction_b.is_not_distinct_from(pair[1]),
        )
    )
    if there is not None:
        return there, False
    item = QueueItem(
        item_id=new_id("item"),
        kind=given.kind,
        interaction_a=pair[0],
        interaction_b=pair[1],
        overlap=given.overlap,
        priority=given.priority,
    )
    session.add(item)
    session.flush()
    return item, True


def next_assignment(
    session: Session, *, rater: Rater, key: bytes, kind: str | None = None, lease: timedelta = LEASE
) -> Assignment | None:
    """Lease the next item for a clinician, or give back the one they hold; None when nothing is open to them.

    `key` is secret, so that nobody can foretell the side order.
    """
    lock(session, "rater", rater.user_id)  # two tabs of one clinician hold one lease
    held = session.scalar(
        sa.select(Assignment)
        .join(QueueItem, QueueItem.item_id == Assignment.item_id)
        .where(
            Assignment.clinician_id == rater.user_id,
            Assignment.state == "leased",
            Assignment.lease_until > sa.func.now(),
            QueueItem.kind == kind if kind is not None else sa.true(),
        )
        .order_by(Assignment.id)
        .limit(1)
    )
    if held is not None:
        held.lease_until = datetime.now(UTC) + lease
        session.flush()
        return held
    refused: list[int] = []
    while True:
        query = sa.select(QueueItem).where(open_to(rater.user_id), QueueItem.id.not_in(refused))
        if kind is not None:
            query = query.where(QueueItem.kind == kind)
        query = query.order_by(QueueItem.priority.desc(), QueueItem.id).limit(1)
        item = session.scalar(query.with_for_update(skip_locked=True))
        if item is None:
            return None
        # the count above is as old as the statement; under the row lock a fresh one is exact
        if _taken(session, item.item_id, besides=rater.user_id) < item.overlap:
            return _lease(session, item=item, rater=rater, key=key, lease=lease)
        refused.append(item.id)


def open_to(user_id: int) -> sa.ColumnElement[bool]:
    """Items with room for one more rater that this clinician has neither judged nor skipped."""
    of_item = sa.select(sa.literal(1)).where(
        Assignment.item_id == QueueItem.item_id,
        Assignment.clinician_id == user_id,
        Assignment.state.in_(("done", "skipped")),
    )
    return sa.and_(~of_item.exists(), _taken_query(QueueItem.item_id, besides=user_id) < QueueItem.overlap)


def show(session: Session, cipher: TextCipher, *, assignment: Assignment) -> Card:
    """Render an assignment with its sides as they were drawn."""
    item = session.scalars(sa.select(QueueItem).where(QueueItem.item_id == assignment.item_id)).one()
    first = get_interaction(session, item.interaction_a)
    prompt = get_text(first, "prompt", cipher=cipher) or ""
    response = get_text(first, "response", cipher=cipher)
    card = {
        "assignment_id": assignment.assignment_id,
        "item_id": item.item_id,
        "kind": item.kind,
        "agent_name": first.agent_name,
        "lease_until": assignment.lease_until,
        "prompt": prompt,
    }
    if item.interaction_b is None:
        return Card(**card, response=response)  # type: ignore[arg-type]
    other = get_text(get_interaction(session, item.interaction_b), "response", cipher=cipher)
    left, right = (response, other) if assignment.presented_first == "a" else (other, response)
    return Card(**card, left=left, right=right)  # type: ignore[arg-type]


def progress(session: Session, *, rater: Rater) -> Progress:
    """Counts for one clinician."""
    states = sa.select(Assignment.state, sa.func.count()).where(Assignment.clinician_id == rater.user_id)
    counts = dict(session.execute(states.group_by(Assignment.state)).all())
    remaining = session.scalar(sa.select(sa.func.count()).select_from(QueueItem).where(open_to(rater.user_id))) or 0
    return Progress(done=counts.get("done", 0), skipped=counts.get("skipped", 0), remaining=remaining)


def find_assignment(session: Session, assignment_id: str, *, rater: Rater) -> Assignment:
    """One's own assignment, locked until the transaction ends, or NotFoundError."""
    found = session.scalar(
        sa.select(Assignment)
        .where(Assignment.assignment_id == assignment_id, Assignment.clinician_id == rater.user_id)
        .with_for_update()
    )
    if found is None:
        raise NotFoundError("There is no assignment with this id for this account. Ask for the next one.")
    return found


def presented_first(rater_id: int, index: int, *, key: bytes) -> str:
    """The response shown on the left in a rater's comparison number `index`: balanced in permuted blocks of four."""
    block, position = divmod(index, 4)
    draw = hmac.new(key, f"side/{rater_id}/{block}".encode(), hashlib.sha256).digest()
    return _BLOCKS[int.from_bytes(draw[:8], "big") % len(_BLOCKS)][position]


def _taken_query(item_id: object, *, besides: int) -> sa.ScalarSelect[int]:
    """How many other clinicians have judged an item or hold it."""
    return (
        sa.select(sa.func.count())
        .select_from(Assignment)
        .where(
            Assignment.item_id == item_id,
            Assignment.clinician_id != besides,
            sa.or_(
                Assignment.state == "done",
                sa.and_(Assignment.state == "leased", Assignment.lease_until > sa.func.now()),
            ),
        )
        .scalar_subquery()
    )


def _taken(session: Session, item_id: str, *, besides: int) -> int:
    return session.scalar(sa.select(_taken_query(item_id, besides=besides))) or 0


def _lease(session: Session, *, item: QueueItem, rater: Rater, key: bytes, lease: timedelta) -> Assignment:
    first = None
    if item.kind == "compare":
        seen = session.scalar(
            sa.select(sa.func.count())
            .select_from(Assignment)
            .where(Assignment.clinician_id == rater.user_id, Assignment.presented_first.is_not(None))
        )
        first = presented_first(rater.user_id, seen or 0, key=key)
    until = datetime.now(UTC) + lease
    statement = (
        insert(Assignment)
        .values(
            assignment_id=new_id("asg"),
            item_id=item.item_id,
            clinician_id=rater.user_id,
            presented_first=first,
            lease_until=until,
        )
        # an expired lease of the same clinician is taken up again with the sides it had
        .on_conflict_do_update(
            constraint="assignments_item_id_clinician_id_key", set_={"lease_until": until, "state": "leased"}
        )
        .returning(Assignment)
    )
    return session.scalars(statement, execution_options={"populate_existing": True}).one()
