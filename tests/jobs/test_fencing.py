"""An attempt that was replaced cannot make anything visible, whatever it still does."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import make_engine, session_scope
from preceptor.db.tables.lineage import ArtifactRow, Run
from preceptor.db.tables.ops import AuditEvent
from preceptor.errors import ConflictError
from preceptor.runs import Outcome, create_run, end_run, execute_run, start_attempt
from preceptor.stage import StageResult
from preceptor.supervision import RunSuperseded, StopSignals, fence, watching


@pytest.fixture
def run_id(engine: sa.Engine, package: str) -> str:
    with session_scope(engine) as session:
        return create_run(session, "curate", {})


@pytest.fixture
def zombie(settings, engine):
    """An engine of its own, as a child process has it."""
    own = make_engine(settings)
    yield own
    own.dispose()


def test_no_transaction_of_a_replaced_attempt_commits(engine, run_id, zombie):
    attempt = start_attempt(engine, run_id)
    fence(zombie, run_id, attempt)
    with session_scope(zombie) as session:
        session.add(AuditEvent(action="published", target="first"))
    with Session(zombie) as session:
        session.add(AuditEvent(action="published", target="second"))
        session.flush()
        assert start_attempt(engine, run_id) == attempt + 1  # while the zombie's transaction is open
        with pytest.raises(RunSuperseded):
            session.commit()
    with engine.connect() as connection:
        assert connection.scalars(sa.select(AuditEvent.target)).all() == ["first"]


def test_the_fence_sees_the_new_attempt_from_an_old_snapshot(engine, run_id, zombie):
    fence(zombie, run_id, start_attempt(engine, run_id))
    repeatable = zombie.connect().execution_options(isolation_level="REPEATABLE READ")
    with repeatable:
        repeatable.execute(sa.select(Run))  # takes the snapshot
        start_attempt(engine, run_id)
        repeatable.execute(sa.insert(AuditEvent).values(action="published", target="late"))
        with pytest.raises(RunSuperseded):
            repeatable.commit()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(AuditEvent)) == 0


def test_a_replaced_attempt_records_neither_result_nor_artifact(engine, run_id, store):
    with store.building("report") as build:
        (build.path / "x.json").write_text("{}")
    stale = start_attempt(engine, run_id)
    start_attempt(engine, run_id)
    done = Outcome("succeeded", StageResult("done", build.artifact.id))
    with pytest.raises(RunSuperseded), session_scope(engine) as session:
        end_run(session, run_id, stale, done, store=store)
    with engine.connect() as connection:
        assert connection.execute(sa.select(Run.state, Run.artifact_id)).one() == ("running", None)
        assert connection.scalar(sa.select(sa.func.count()).select_from(ArtifactRow)) == 0


def test_executing_a_stale_attempt_does_not_even_start(engine, run_id, settings, package):
    stale = start_attempt(engine, run_id)
    start_attempt(engine, run_id)
    assert execute_run(settings, run_id, stale, package=package).state == "superseded"
    assert execute_run(settings, run_id, stale + 1, package=package).state == "succeeded"
    with pytest.raises(ConflictError, match="has ended"):
        start_attempt(engine, run_id)


def test_the_watch_tells_a_run_that_it_was_canceled_or_replaced(engine, run_id, zombie):
    attempt = start_attempt(engine, run_id)
    signals = StopSignals()
    with watching(zombie, run_id, attempt, signals=signals, interval=0.02):
        with session_scope(engine) as session:
            session.execute(sa.update(Run).values(cancel_requested=True))
        assert signals.canceled.wait(5)
        assert not signals.superseded.is_set()
        start_attempt(engine, run_id)
        assert signals.superseded.wait(5)


def test_the_watch_stops_a_run_whose_parent_is_gone(engine, run_id, zombie):
    signals = StopSignals()
    attempt = start_attempt(engine, run_id)
    with watching(zombie, run_id, attempt, signals=signals, parent=1 << 22, interval=0.02, grace=60.0):
        assert signals.stopped.wait(5)
