from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import Experiment
from preceptor.errors import ConflictError, StorageError
from preceptor.release import registry
from preceptor.release.deployment import sync
from preceptor.release.document import (
    KEPT,
    AgentDeployment,
    Document,
    DocumentReader,
    Served,
    parse_document,
    swap,
)
from preceptor.release.registry import Origin

AGENT = "prescription_agent"
WHY = Origin("dr.okafor", "better")


def served(digest: str) -> dict[str, AgentDeployment]:
    stable = Served(release_id=f"release_{digest}", version=1, model="gpt2", digest=digest)
    return {AGENT: AgentDeployment(generation=1, stable=stable)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deployments.json"


def synced(engine: sa.Engine, path: Path, upstream_url: str | None = None) -> Document:
    return sync(engine, path, store=ArtifactStore(path.parent / "artifacts"), upstream_url=upstream_url)


def two_releases(engine: sa.Engine, model: str = "policy-1") -> tuple[str, str]:
    with session_scope(engine) as session:
        zero = registry.ensure_base(session, AGENT, model="gpt2", digest="d0").release_id
        one = registry.register(session, AGENT, model=model, digest="d1", report="r", run_id=None, refusal=None)
        return zero, one.release_id


def start_experiment(engine: sa.Engine, control: str, treatment: str) -> None:
    with session_scope(engine) as session:
        session.add(
            Experiment(
                experiment_id="exp_1",
                agent_name=AGENT,
                control_release_id=control,
                treatment_release_id=treatment,
                hash_seed="s",
                coverage=0.5,
            )
        )


def test_swap_refuses_a_stale_writer(path: Path) -> None:
    first = swap(path, served("aa"), expected_sequence=0)
    swap(path, served("bb"), expected_sequence=first.sequence)
    with pytest.raises(ConflictError):
        swap(path, served("cc"), expected_sequence=first.sequence)
    assert parse_document(path.read_text()).agents == served("bb")


def test_of_many_writers_with_the_same_view_one_wins(path: Path) -> None:
    def attempt(number: int) -> bool:
        try:
            swap(path, served(f"d{number}"), expected_sequence=0)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_the_last_twenty_documents_are_kept(path: Path) -> None:
    for number in range(KEPT + 5):
        swap(path, served(f"d{number}"), expected_sequence=number)
    kept = sorted(path.with_suffix(".history").glob("*.json"))
    assert len(kept) == KEPT
    assert parse_document(kept[-1].read_text()).sequence == KEPT + 5


def test_a_reader_sees_a_new_document_without_a_restart(path: Path) -> None:
    reader = DocumentReader(path)
    assert reader.current().agents == {}
    swap(path, served("aa"), expected_sequence=0)
    assert reader.current().agents[AGENT].stable.digest == "aa"
    swap(path, served("bb"), expected_sequence=1)
    assert reader.current().agents[AGENT].stable.digest == "bb"


@pytest.mark.parametrize("damage", ["half", "edited", "schema", "extra", "empty", "binary"])
def test_a_reader_refuses_a_damaged_document_and_keeps_the_old_one(path: Path, damage: str) -> None:
    swap(path, served("aa"), expected_sequence=0)
    reader = DocumentReader(path)
    assert reader.current().sequence == 1
    text = path.read_text()
    fields = json.loads(text)
    if damage == "schema":
        fields["schema_version"] = 2
    if damage == "extra":
        fields["agents"][AGENT]["surprise"] = 1
    bad = {
        "half": text[: len(text) // 2].encode(),
        "edited": text.replace('"aa"', '"ab"').encode(),
        "schema": json.dumps(fields).encode(),
        "extra": json.dumps(fields).encode(),
        "empty": b"",
        "binary": b"\xff\xfe\x00",
    }[damage]
    path.write_bytes(bad)
    assert reader.current().agents[AGENT].stable.digest == "aa"
    if damage != "binary":
        with pytest.raises(StorageError):
            parse_document(bad.decode())


def test_an_unchanged_document_is_not_read_again(path: Path) -> None:
    swap(path, served("aa"), expected_sequence=0)
    reader = DocumentReader(path)
    status = path.stat()
    assert reader.current().sequence == 1
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert reader.current().sequence == 1
    path.unlink()
    assert reader.current().sequence == 1


def test_sync_rebuilds_the_document_from_the_database_alone(engine: sa.Engine, path: Path) -> None:
    zero, one = two_releases(engine)
    before = synced(engine, path)
    assert before.agents[AGENT].stable.release_id == zero
    assert before.agents[AGENT].candidate is not None
    path.write_text("torn")
    assert synced(engine, path).agents == before.agents
    path.unlink()
    for old in path.with_suffix(".history").iterdir():
        old.unlink()
    assert synced(engine, path).agents[AGENT].stable == before.agents[AGENT].stable
    assert one != zero


def test_sync_changes_nothing_when_nothing_changed(engine: sa.Engine, path: Path) -> None:
    two_releases(engine)
    first = synced(engine, path)
    identity = path.stat().st_mtime_ns
    assert synced(engine, path) == first
    assert path.stat().st_mtime_ns == identity


def test_generation_grows_with_every_change_and_never_falls_when_the_file_is_lost(
    engine: sa.Engine, path: Path
) -> None:
    _, one = two_releases(engine)
    generations = [synced(engine, path).agents[AGENT].generation]
    with session_scope(engine) as session:
        registry.promote(session, AGENT, one, WHY)
    generations.append(synced(engine, path).agents[AGENT].generation)
    with session_scope(engine) as session:
        registry.rollback(session, AGENT, WHY)
    path.unlink()
    generations.append(synced(engine, path).agents[AGENT].generation)
    assert generations == sorted(set(generations))


def test_a_rollout_is_there_only_while_its_experiment_runs_on_the_active_release(engine: sa.Engine, path: Path) -> None:
    zero, one = two_releases(engine)
    start_experiment(engine, zero, one)
    agent = synced(engine, path).agents[AGENT]
    assert agent.rollout is not None
    assert (agent.rollout.experiment_id, agent.rollout.coverage) == ("exp_1", 0.5)
    assert agent.candidate is not None
    assert agent.candidate.release_id == one
    with session_scope(engine) as session:
        session.execute(sa.update(Experiment).values(state="paused"))
    assert synced(engine, path).agents[AGENT].rollout is None
    with session_scope(engine) as session:
        session.execute(sa.update(Experiment).values(state="running"))
        registry.promote(session, AGENT, one, WHY)
    assert synced(engine, path).agents[AGENT].rollout is None


def test_the_kill_switch_is_in_the_document_and_in_the_history(engine: sa.Engine, path: Path) -> None:
    two_releases(engine)
    with session_scope(engine) as session:
        registry.switch_kill(session, AGENT, Origin("on-call", "odd answers"), on=True)
    assert synced(engine, path).agents[AGENT].kill_switch is True
    with session_scope(engine) as session:
        registry.switch_kill(session, AGENT, Origin("on-call", "was harmless"), on=False)
        assert [e.reason for e in registry.history(session) if e.alias == "kill_switch"] == [
            "odd answers",
            "was harmless",
        ]
    assert synced(engine, path).agents[AGENT].kill_switch is False


def test_only_the_base_release_is_served_from_the_upstream(engine: sa.Engine, path: Path) -> None:
    two_releases(engine)
    agent = synced(engine, path, upstream_url="http://127.0.0.1:9/v1").agents[AGENT]
    assert agent.stable.upstream == "http://127.0.0.1:9/v1"
    assert agent.candidate is not None
    assert agent.candidate.upstream is None


@pytest.mark.parametrize(
    ("card", "params"),
    [
        ('{"config": {"temperature": 0.7, "max_new_tokens": 56, "seed": 1}}', {"temperature": 0.7, "max_tokens": 56}),
        ('{"config": {"temperature": null}}', {}),
        ("[]", {}),
        ("{", {}),
    ],
)
def test_a_policy_is_served_as_it_was_trained(
    engine: sa.Engine, path: Path, card: str, params: dict[str, float | int]
) -> None:
    with ArtifactStore(path.parent / "artifacts").building("policy") as build:
        (build.path / "preceptor.json").write_text(card)
    zero, one = two_releases(engine, build.artifact.id)
    agent = synced(engine, path).agents[AGENT]
    assert agent.candidate is not None
    assert agent.candidate.params == params
    assert agent.stable.params == {}
    start_experiment(engine, zero, one)
    agent = synced(engine, path).agents[AGENT]
    assert agent.stable.params == params, "the arms differ in their weights only"
