"""The queue: k raters an item under parallel leases, balanced sides, and a lost lease that never counts twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect import queue, submission
from preceptor.collect.interactions import Rater, create_interaction
from preceptor.collect.schemas import FieldError, InteractionIn, QueueItemIn, SubmitIn
from preceptor.db.encrypted import TextCipher
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import User
from preceptor.db.tables.raw import Assignment, Feedback, Preference
from preceptor.errors import ConflictError, NotFoundError

CIPHER = TextCipher(None)
KEY = b"k" * 32


def answer(session: Session, prompt: str, response: str) -> str:
    given = InteractionIn(session_id="s", agent_name="rx", prompt=prompt, response=response)
    return create_interaction(session, CIPHER, given=given, created_by=None)[0].interaction_id


def comparisons(session: Session, count: int, *, overlap: int = 2) -> None:
    for index in range(count):
        a, b = (answer(session, f"Q{index}", text) for text in ("one", "two"))
        queue.add_item(
            session, CIPHER, given=QueueItemIn(kind="compare", interaction_a=a, interaction_b=b, overlap=overlap)
        )


def raters(session: Session, count: int) -> list[Rater]:
    users = [User(login=f"r{index}") for index in range(count)]
    session.add_all(users)
    session.flush()
    return [Rater(user.id) for user in users]


def test_parallel_clinicians_never_exceed_the_overlap(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 6, overlap=2)
        crowd = raters(session, 12)

    def work(rater: Rater) -> int:
        judged = 0
        while True:
            with session_scope(engine) as session:
                leased = queue.next_assignment(session, rater=rater, key=KEY)
                if leased is None:
                    return judged
                name = leased.assignment_id
            with session_scope(engine) as session:
                given = SubmitIn(choice="tie")
                submission.submit(session, CIPHER, assignment_id=name, given=given, rater=rater)
            judged += 1

    with ThreadPoolExecutor(8) as pool:
        total = sum(pool.map(work, crowd))
    with session_scope(engine) as session:
        taken = Counter(session.scalars(sa.select(Assignment.item_id)))
        stored = session.scalar(sa.select(sa.func.count()).select_from(Preference))
    assert total == stored == 12
    assert set(taken.values()) == {2}


def test_a_clinician_holds_one_lease_until_it_is_judged(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 2)
        (rater,) = raters(session, 1)
    with ThreadPoolExecutor(8) as pool:

        def lease(_: int) -> str:
            with session_scope(engine) as session:
                found = queue.next_assignment(session, rater=rater, key=KEY)
                assert found is not None
                return found.assignment_id

        assert len(set(pool.map(lease, range(16)))) == 1


def test_sides_are_balanced_in_every_block_of_four() -> None:
    for rater_id in range(50):
        for block in range(5):
            sides = [queue.presented_first(rater_id, block * 4 + index, key=KEY) for index in range(4)]
            assert Counter(sides) == {"a": 2, "b": 2}
    orders = {"".join(queue.presented_first(rater, index, key=KEY) for index in range(4)) for rater in range(200)}
    assert len(orders) == 6, "every order of a block must occur"
    firsts = [queue.presented_first(1, index, key=KEY) for index in range(64)]
    assert firsts != [queue.presented_first(1, index, key=b"other") for index in range(64)]


@pytest.mark.parametrize(("first", "choice", "outcome"), [
    ("a", "left", "a"), ("a", "right", "b"), ("b", "left", "b"), ("b", "right", "a"),
    ("a", "tie", "tie"), ("b", "both_bad", "both_bad"), ("b", "cannot_judge", "cannot_judge"),
])  # fmt: skip
def test_sides_become_responses(first: str, choice: submission.Choice, outcome: str) -> None:
    assert submission.choice_to_outcome(choice, presented_first=first) == outcome


def test_what_was_on_screen_is_what_is_stored(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 8)
        (rater,) = raters(session, 1)
        for _ in range(8):
            leased = queue.next_assignment(session, rater=rater, key=KEY)
            assert leased is not None
            card = queue.show(session, CIPHER, assignment=leased)
            given = SubmitIn(choice="left", strength=2, harm_right=3)
            done = submission.submit(session, CIPHER, assignment_id=leased.assignment_id, given=given, rater=rater)
            row = session.scalars(
                sa.select(Preference).where(Preference.preference_id.in_(done.result_ids or []))
            ).one()
            better = row.response_a if row.preferred == "a" else row.response_b
            worse_harm = row.harm_b if row.preferred == "a" else row.harm_a
            assert (better, worse_harm, row.blinded) == (card.left, 3, True)
            assert (row.presented_first == "a") == (card.left == row.response_a)
        sides = Counter(session.scalars(sa.select(Preference.presented_first)))
    assert sides == {"a": 4, "b": 4}


def test_an_expired_lease_goes_to_another_and_cannot_count_beyond_k(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1, overlap=1)
        slow, quick = raters(session, 2)
        late = queue.next_assignment(session, rater=slow, key=KEY, lease=timedelta(seconds=-1))
        assert late is not None
        taken = queue.next_assignment(session, rater=quick, key=KEY)
        assert taken is not None
        given = SubmitIn(choice="tie")
        submission.submit(session, CIPHER, assignment_id=taken.assignment_id, given=given, rater=quick)
        with pytest.raises(ConflictError, match="enough others"):
            submission.submit(session, CIPHER, assignment_id=late.assignment_id, given=given, rater=slow)


def test_an_expired_lease_that_nobody_took_is_still_good(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1)
        (rater,) = raters(session, 1)
        late = queue.next_assignment(session, rater=rater, key=KEY, lease=timedelta(seconds=-1))
        assert late is not None
        side = late.presented_first
        again = queue.next_assignment(session, rater=rater, key=KEY)
        assert again is not None
        assert (again.assignment_id, again.presented_first) == (late.assignment_id, side)
        given = SubmitIn(choice="tie")
        done = submission.submit(session, CIPHER, assignment_id=late.assignment_id, given=given, rater=rater)
        assert done.state == "done"


def test_undo_within_ten_seconds_leaves_nothing_behind(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1)
        (rater,) = raters(session, 1)
        leased = queue.next_assignment(session, rater=rater, key=KEY)
        assert leased is not None
        name = leased.assignment_id
        submission.submit(session, CIPHER, assignment_id=name, given=SubmitIn(choice="left"), rater=rater)
    with session_scope(engine) as session:
        assert submission.undo(session, assignment_id=name, rater=rater).state == "leased"
        live = session.scalars(sa.select(Preference).where(Preference.withdrawn_at.is_(None))).all()
        assert live == []
        submission.submit(session, CIPHER, assignment_id=name, given=SubmitIn(choice="right"), rater=rater)
    with session_scope(engine) as session, pytest.raises(ConflictError, match="ten seconds"):
        submission.undo(session, assignment_id=name, rater=rater, within=timedelta(seconds=-1))


def test_undo_brings_an_earlier_rating_back(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        one = answer(session, "Q", "A")
        queue.add_item(session, CIPHER, given=QueueItemIn(kind="rate", interaction_a=one, overlap=1))
        (rater,) = raters(session, 1)
        from preceptor.collect.feedback import record_feedback
        from preceptor.collect.schemas import FeedbackIn

        record_feedback(session, CIPHER, given=FeedbackIn(interaction_id=one, rating=5), rater=rater)
        leased = queue.next_assignment(session, rater=rater, key=KEY, kind="rate")
        assert leased is not None
        given = SubmitIn(rating=1)
        submission.submit(session, CIPHER, assignment_id=leased.assignment_id, given=given, rater=rater)
        submission.undo(session, assignment_id=leased.assignment_id, rater=rater)
        row = session.scalars(sa.select(Feedback)).one()
        assert (row.rating, row.feedback_type, row.revision, row.withdrawn_at) == (5, "positive", 3, None)


def test_a_double_click_changes_nothing_and_a_second_opinion_is_refused(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1)
        mine, other = raters(session, 2)
        leased = queue.next_assignment(session, rater=mine, key=KEY)
        assert leased is not None
        name = leased.assignment_id
        for _ in range(2):
            submission.submit(session, CIPHER, assignment_id=name, given=SubmitIn(choice="left"), rater=mine)
        assert session.scalar(sa.select(sa.func.count()).select_from(Preference)) == 1
        with pytest.raises(ConflictError, match="judged already"):
            submission.submit(session, CIPHER, assignment_id=name, given=SubmitIn(choice="right"), rater=mine)
        with pytest.raises(NotFoundError):
            submission.submit(session, CIPHER, assignment_id=name, given=SubmitIn(choice="right"), rater=other)


def test_skipping_passes_the_item_on(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1, overlap=1)
        mine, other = raters(session, 2)
        leased = queue.next_assignment(session, rater=mine, key=KEY)
        assert leased is not None
        assert queue.next_assignment(session, rater=other, key=KEY) is None
        submission.skip(session, assignment_id=leased.assignment_id, rater=mine)
        assert queue.next_assignment(session, rater=mine, key=KEY) is None
        assert queue.next_assignment(session, rater=other, key=KEY) is not None
        assert queue.progress(session, rater=mine) == queue.Progress(done=0, skipped=1, remaining=0)


def test_fields_of_the_other_kind_are_refused(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        comparisons(session, 1)
        (rater,) = raters(session, 1)
        leased = queue.next_assignment(session, rater=rater, key=KEY)
        assert leased is not None
        for given, field in ((SubmitIn(rating=5), "rating"), (SubmitIn(), "choice")):
            with pytest.raises(FieldError) as caught:
                submission.submit(session, CIPHER, assignment_id=leased.assignment_id, given=given, rater=rater)
            assert caught.value.fields == (field,)


def test_the_same_content_is_queued_once_in_either_order(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        a, b = answer(session, "Q", "one"), answer(session, "Q", "two")
        same, other = answer(session, "Q", "one"), answer(session, "P", "one")

        def add(first: str, second: str | None) -> tuple[str, bool]:
            given = QueueItemIn(kind="compare", interaction_a=first, interaction_b=second)
            item, is_new = queue.add_item(session, CIPHER, given=given)
            return item.item_id, is_new

        name, is_new = add(a, b)
        assert is_new
        assert add(b, a) == (name, False)
        for first, second in ((a, None), (a, a), (a, same), (a, other)):
            with pytest.raises(FieldError):
                add(first, second)
