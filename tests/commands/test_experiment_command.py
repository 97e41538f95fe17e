"""`preceptor experiment resume | coverage | end` change the experiment and, at once, what is served."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor import cli
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import AuditEvent
from preceptor.db.tables.rollout import Experiment
from preceptor.experiment.store import start_from_aliases
from preceptor.release import registry
from preceptor.release.document import AgentDeployment, stored_document
from preceptor.settings import Settings

AGENT = "triage_agent"


@pytest.fixture
def running(engine: sa.Engine, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment at 20 % coverage, in an installation that the commands find."""
    monkeypatch.setenv("PRECEPTOR_HOME", str(settings.home))
    monkeypatch.setenv("DATABASE_URL", database_url)
    with session_scope(engine) as session:
        registry.ensure_base(session, AGENT, model="gpt2", digest="d0")
        registry.register(session, AGENT, model="policy-1", digest="d1", report="r", run_id=None, refusal=None)
        return start_from_aliases(session, agent_name=AGENT, coverage=0.2).experiment_id


def served(home: Path) -> AgentDeployment:
    return stored_document(home / "deployments.json").agents[AGENT]


def test_coverage_rises_in_what_is_served_and_never_falls(
    running: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["experiment", "coverage", running, "0.5"]) == 0
    rollout = served(settings.home).rollout
    assert rollout is not None
    assert rollout.coverage == 0.5
    assert cli.main(["experiment", "coverage", running, "0.3"]) == 1
    assert "Coverage can rise from 0.5" in capsys.readouterr().err


def test_a_paused_experiment_is_resumed_and_then_ended_by_a_person(
    running: str, engine: sa.Engine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["experiment", "resume", running]) == 1
    assert "is running, not paused" in capsys.readouterr().err
    with session_scope(engine) as session:
        session.execute(sa.update(Experiment).values(state="paused"))
    assert cli.main(["experiment", "resume", running, "--reason", "a misclick"]) == 0
    assert served(settings.home).rollout is not None
    assert cli.main(["experiment", "end", running]) == 0
    assert served(settings.home).rollout is None
    assert cli.main(["experiment", "end", running]) == 1
    with session_scope(engine) as session:
        assert session.scalars(sa.select(Experiment.state)).all() == ["inconclusive"]
        events = session.execute(sa.select(AuditEvent.action, AuditEvent.detail).order_by(AuditEvent.id)).all()
    assert [action for action, _ in events] == ["experiment.resume", "experiment.end"]
    assert events[0].detail["reason"] == "a misclick"


def test_an_unknown_experiment_is_named(running: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", "end", "exp_nowhere"]) == 1
    assert "exp_nowhere" in capsys.readouterr().err
