"""What starts a round: a threshold of eligible samples, once, however many ask at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import CuratedRecord
from preceptor.db.tables.lineage import Round
from preceptor.db.tables.ops import Alert, Consent, User
from preceptor.errors import ConfigError
from preceptor.jobs.triggers import check_threshold, enqueue_round, retrain_status
from preceptor.pipeline import RoundConfig
from preceptor.settings import Settings

_FEEDBACK = sa.text(
    "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, clinician_id)"
    " VALUES (:id, 's', :agent, 'q', 'r', 4, :clinician)"
)


@pytest.fixture
def clinician(engine: sa.Engine) -> int:
    with session_scope(engine) as session:
        user = User(login="dr", role="clinician")
        session.add(user)
        session.flush()
        return user.id


@pytest.fixture
def ten(settings: Settings) -> Settings:
    """Settings whose threshold is ten samples."""
    return settings.model_copy(update={"retrain_threshold": 10})


def add_sample(engine, clinician, name, *, agent="triage_agent", at=None, **changes):
    """One judgement with its curated record, in one transaction."""
    curated = {"status": "clear", "instrument": "stars", "rating": 4, "rater": f"rater-{clinician}"} | changes
    with session_scope(engine) as session:
        session.execute(_FEEDBACK, {"id": name, "agent": agent, "clinician": clinician})
        record = CuratedRecord(
            kind="feedback",
            source_id=name,
            source_revision=1,
            source_hash="0" * 64,
            scrubber_version="1",
            agent_name=agent,
            **curated,
        )
        if at is not None:
            record.curated_at = at
        session.add(record)


def jobs(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT count(*) FROM procrastinate_jobs"))


def end(engine: sa.Engine, round_id: str, state: str, *, minutes_ago: int = 0) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    with session_scope(engine) as session:
        session.execute(sa.update(Round).where(Round.round_id == round_id).values(state=state, ended_at=ended))


def test_fifty_inserts_that_cross_the_threshold_together_start_one_round(engine, settings, clinician, package):
    fifty = settings.model_copy(update={"retrain_threshold": 50})
    ready = threading.Barrier(25)

    def insert_and_check(number: int) -> list[str]:
        if number < 25:
            ready.wait()
        add_sample(engine, clinician, f"f{number}")
        return check_threshold(engine, fifty, package=package)

    with ThreadPoolExecutor(25) as pool:
        started = [round_id for found in pool.map(insert_and_check, range(50)) for round_id in found]
    assert len(started) == 1
    assert jobs(engine) == 1
    with engine.connect() as connection:
        rows = connection.execute(sa.select(Round.agent_name, Round.trigger_key, Round.state)).all()
    assert rows == [("triage_agent", "threshold:triage_agent:0:0", "queued")]


def test_only_samples_that_a_round_may_learn_from_count(engine, ten, clinician, package):
    for number in range(9):
        add_sample(engine, clinician, f"good{number}")
    with session_scope(engine) as session:
        other = User(login="no", role="clinician")
        session.add(other)
        session.flush()
        session.add(Consent(clinician_id=other.id, scope="internal_training", policy_version="1", granted=True))
        session.flush()
        session.add(Consent(clinician_id=other.id, scope="internal_training", policy_version="1", granted=False))
        revoked = other.id
    add_sample(engine, revoked, "revoked")
    add_sample(engine, clinician, "held", status="held")
    add_sample(engine, clinician, "comment", instrument="comment", rating=None)
    add_sample(engine, clinician, "unjudged", instrument="comparison", rating=None, outcome="cannot_judge")
    add_sample(engine, clinician, "simulated", is_simulated=True)
    add_sample(engine, clinician, "elsewhere", agent="other_agent")
    add_sample(engine, clinician, "withdrawn")
    add_sample(engine, clinician, "rejected")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE feedback_id = 'withdrawn'"))
        rejected = "UPDATE rlhf_feedback SET review_status = 'rejected' WHERE feedback_id = 'rejected'"
        connection.execute(sa.text(rejected))
    assert check_threshold(engine, ten, package=package) == []
    status = {row.agent_name: row for row in retrain_status(engine, ten)}["triage_agent"]
    assert (status.eligible, status.new, status.raters, status.largest_share) == (9, 9, 1, 1.0)
    assert check_threshold(engine, ten.model_copy(update={"retrain_on_simulated": True}), package=package) != []


def test_samples_count_from_the_last_round_that_did_not_fail(engine, ten, clinician, package):
    for number in range(10):
        add_sample(engine, clinician, f"a{number}")
    (first,) = check_threshold(engine, ten, package=package)
    for number in range(10):
        add_sample(engine, clinician, f"b{number}")
    assert check_threshold(engine, ten, package=package) == []  # one is under way: these count for the next
    assert "samples that arrive now" in retrain_status(engine, ten)[0].held
    end(engine, first, "succeeded")
    (second,) = check_threshold(engine, ten, package=package)
    assert second != first
    end(engine, second, "succeeded")
    assert check_threshold(engine, ten, package=package) == []
    assert retrain_status(engine, ten)[0].new == 0


def test_a_failed_round_is_tried_again_later_and_three_failures_raise_an_alert(engine, ten, clinician, package):
    for number in range(10):
        add_sample(engine, clinician, f"a{number}")
    for attempt in range(3):
        (failed,) = check_threshold(engine, ten, package=package)
        end(engine, failed, "failed")
        if attempt < 2:
            assert check_threshold(engine, ten, package=package) == []  # not at once
            assert "the next try" in retrain_status(engine, ten)[0].held
        end(engine, failed, "failed", minutes_ago=10 * (attempt + 1) + 1)
    assert check_threshold(engine, ten, package=package) == []
    assert check_threshold(engine, ten, package=package) == []
    with engine.connect() as connection:
        assert connection.scalars(sa.select(Alert.key)).all() == ["retrain:triage_agent"]
    assert retrain_status(engine, ten)[0].new == 10  # nothing is lost meanwhile


def test_the_status_tells_what_waits_and_when_the_next_round_may_come(engine, ten, clinician):
    for number in range(4):
        add_sample(engine, clinician, f"a{number}")
    with engine.begin() as connection:
        connection.execute(_FEEDBACK, {"id": "raw", "agent": "triage_agent", "clinician": clinician})
    (status,) = retrain_status(engine, ten)
    assert (status.new, status.waiting, status.threshold, status.held) == (4, 1, 10, None)
    assert status.samples_per_day == pytest.approx(4 / 7, abs=0.01)
    assert status.days_left == pytest.approx(6 / status.samples_per_day, abs=0.1)


def test_a_round_is_queued_with_the_callers_transaction_or_not_at_all(engine, settings, package):
    config = RoundConfig(agent_name="triage_agent")
    session = Session(engine)
    enqueue_round(session, config, settings=settings, package=package)
    session.rollback()
    session.close()
    assert jobs(engine) == 0
    for expected in (True, False):
        with session_scope(engine) as session:
            _, is_new = enqueue_round(session, config, settings=settings, trigger_key="k", package=package)
        assert is_new is expected
    assert jobs(engine) == 1


def test_an_override_that_no_stage_accepts_is_refused_before_it_is_queued(engine, settings, package):
    for overrides, words in (
        ({"reward": {"secnds": 1}}, "has no field 'secnds'"),
        ({"reward": {"seconds": "soon"}}, "cannot use its field 'seconds'"),
        ({"collect": {}}, "no stage 'collect'"),
    ):
        with pytest.raises(ConfigError, match=words), session_scope(engine) as session:
            enqueue_round(session, RoundConfig(overrides=overrides), settings=settings, package=package)
    assert jobs(engine) == 0
