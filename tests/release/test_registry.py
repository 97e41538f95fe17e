from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope
from preceptor.errors import ConflictError, GateRefused, NotFoundError
from preceptor.release import registry
from preceptor.release.registry import Origin

AGENT = "prescription_agent"
WHY = Origin("dr.okafor", "better on held-out prompts", "report-1")


def new_release(session: Session, digest: str, refusal: str | None = None) -> str:
    release = registry.register(
        session, AGENT, model=f"policy-{digest}", digest=digest, report="report-1", run_id=None, refusal=refusal
    )
    return release.release_id


def base(session: Session) -> str:
    return registry.ensure_base(session, AGENT, model="gpt2", digest="basebasebasebase").release_id


def test_version_zero_is_the_base_model_and_serves_at_once(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        first = base(session)
        assert base(session) == first
        assert registry.find(session, AGENT, "0").release_id == first
        assert registry.aliases(session, AGENT) == {"active": first}


def test_versions_count_up_and_the_same_weights_keep_theirs(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        one, two = new_release(session, "aa"), new_release(session, "bb")
        assert new_release(session, "aa") == one
        assert [(r.release_id, r.version) for r in registry.releases(session, AGENT)[1:]] == [(one, 1), (two, 2)]


def test_promote_then_rollback_returns_to_the_release_before(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        zero, one = base(session), new_release(session, "aa")
        registry.promote(session, AGENT, one, WHY)
        assert registry.aliases(session, AGENT) == {"active": one, "previous": zero, "candidate": None}
        assert registry.find(session, AGENT, one).state == "active"
        assert registry.find(session, AGENT, zero).state == "retired"
        assert registry.rollback(session, AGENT, Origin("on-call", "flags")).release_id == zero
        assert registry.aliases(session, AGENT)["active"] == zero
        assert registry.find(session, AGENT, one).state == "retired"
        with pytest.raises(ConflictError, match="no previous release"):
            registry.rollback(session, AGENT, WHY)


def test_promoting_twice_writes_one_move(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        one = new_release(session, "aa")
        registry.promote(session, AGENT, one, WHY)
        before = len(registry.history(session))
        registry.promote(session, AGENT, one, WHY)
        assert len(registry.history(session)) == before


def test_a_refused_release_cannot_be_promoted_until_a_new_report_passes(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        one = new_release(session, "aa", refusal="win rate: too low")
        assert registry.aliases(session, AGENT).get("candidate") is None
        with pytest.raises(GateRefused, match="too low"):
            registry.promote(session, AGENT, one, WHY)
        assert new_release(session, "aa") == one
        registry.promote(session, AGENT, one, WHY)
        assert registry.aliases(session, AGENT)["active"] == one


def test_a_later_refusal_takes_the_candidate_alias_away(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        new_release(session, "aa")
        new_release(session, "aa", refusal="safety: 1 is not at most 0")
        assert registry.aliases(session, AGENT)["candidate"] is None


def test_another_agents_release_is_not_found(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        other = registry.ensure_base(session, "triage_agent", model="gpt2", digest="basebasebasebase")
        with pytest.raises(NotFoundError):
            registry.promote(session, AGENT, other.release_id, WHY)


def test_history_is_whole_after_many_moves_and_says_who_and_why(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        base(session)
        registry.ensure_base(session, "triage_agent", model="gpt2", digest="d")
        for digest in ("aa", "bb", "cc"):
            registry.promote(session, AGENT, new_release(session, digest), WHY)
        registry.rollback(session, AGENT, Origin("on-call", "flags", "exp_1"))
    with session_scope(engine) as session:
        assert registry.verify_history(session) is None
        last = [event for event in registry.history(session, AGENT) if event.alias == "active"][-1]
        assert (last.actor, last.reason, last.evidence) == ("on-call", "flags", "exp_1")


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE alias_events SET reason = 'nothing happened' WHERE id = 2", "event 2 was changed"),
        ("DELETE FROM alias_events WHERE id = 2", "event 3 does not follow"),
        ("DELETE FROM alias_events WHERE id = 5", "does not point where"),
        ("UPDATE aliases SET release_id = NULL WHERE alias = 'active'", "does not point where"),
    ],
)
def test_tampering_with_the_history_is_noticed(engine: sa.Engine, statement: str, complaint: str) -> None:
    with session_scope(engine) as session:
        base(session)
        registry.promote(session, AGENT, new_release(session, "aa"), WHY)
    with engine.begin() as connection, pytest.raises(sa.exc.DBAPIError, match="append only"):
        connection.exec_driver_sql("UPDATE alias_events SET reason = ''")
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")  # an intruder with full rights
        connection.exec_driver_sql(statement)
    with session_scope(engine) as session:
        assert complaint in str(registry.verify_history(session))


def test_first_use_from_many_threads_makes_one_base_release(engine: sa.Engine) -> None:
    def register(_: int) -> str:
        with session_scope(engine) as session:
            return base(session)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(register, range(8)))) == 1
    with session_scope(engine) as session:
        assert registry.verify_history(session) is None
        assert len(registry.history(session)) == 1
