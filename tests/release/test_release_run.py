from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import GateRefused, InputError, NotFoundError, StorageError
from preceptor.gates import GateThresholds
from preceptor.release import switch
from preceptor.release.config import ReleaseConfig
from preceptor.release.document import DocumentReader
from preceptor.release.registry import Origin
from preceptor.release.run import run
from preceptor.settings import Settings
from preceptor.stage import StageContext

WHY = Origin("dr.okafor", "better")
GOOD: dict[str, Any] = {
    "win_rate": {"low": 0.58},
    "length_controlled_win_rate": {"estimate": 0.66},
    "kl": {"sequence_k1": 12.0},
    "quality": {"length_ratio": 1.1, "unfinished_rise": 0.0, "candidate": {"repetition": 0.02}},
    "safety": {"new_critical": 0, "critical_rise": 0, "safe_fall": {"low": -0.1}},
    "reward_model": {"margin_over_length": 0.2},
    "gold": {"win_rate": {"low": 0.54}, "accuracy": {"low": 0.6}},
    "along_training": {"drop_in_se": 0.4},
    "signs": {"distinct_2": {"estimate": 0.9}, "refusal": {"estimate": 0.0}, "language": {"estimate": 0.0}},
}


@pytest.fixture
def context(settings: Settings, engine: sa.Engine, store: ArtifactStore, tmp_path: Path) -> StageContext:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (base / "model.safetensors").write_bytes(b"weights")
    return StageContext(settings.model_copy(update={"policy_model": str(base)}), engine, store)


def build(store: ArtifactStore, kind: str, name: str, content: str) -> str:
    with store.building(kind) as artifact:
        (artifact.path / name).write_text(content)
    return artifact.artifact.id


def evaluated(store: ArtifactStore, content: str = "w", **changes: Any) -> ReleaseConfig:
    policy = build(store, "policy", "config.json", content)
    report = build(store, "report", "report.json", json.dumps({"policy": policy, **GOOD, **changes}))
    return ReleaseConfig(policy=policy, report=report, agent_name="triage_agent")


def test_a_policy_that_passes_becomes_the_candidate_and_can_be_served(
    context: StageContext, store: ArtifactStore
) -> None:
    config = evaluated(store)
    result = run(config, context)
    assert result.metrics["decision"] == "candidate"
    reader = DocumentReader(context.settings.deployments_file)
    agent = reader.current().agents["triage_agent"]
    assert agent.stable.version == 0
    assert agent.candidate is not None
    assert agent.candidate.model == config.policy
    promoted = switch.promote(context.engine, context.settings, "triage_agent", origin=WHY)
    assert promoted.version == 1
    assert reader.current().agents["triage_agent"].stable.model == config.policy
    switch.rollback(context.engine, context.settings, "triage_agent", origin=WHY)
    assert reader.current().agents["triage_agent"].stable.version == 0
    assert switch.read_history(context.engine)[1] is None


def test_a_policy_that_fails_a_gate_is_refused_with_the_reason_and_not_served(
    context: StageContext, store: ArtifactStore
) -> None:
    with pytest.raises(GateRefused, match=r"triage_agent version 1 was refused: win rate: .* 0\.41 is not above 0\.5"):
        run(evaluated(store, win_rate={"low": 0.41}), context)
    with pytest.raises(NotFoundError, match="no candidate"):
        switch.promote(context.engine, context.settings, "triage_agent", origin=WHY)
    with pytest.raises(GateRefused, match="win rate"):
        switch.promote(context.engine, context.settings, "triage_agent", origin=WHY, release="1")
    rows = switch.list_releases(context.engine, "triage_agent")
    assert [(row.version, row.state, row.aliases) for row in rows] == [(0, "active", ("active",)), (1, "refused", ())]


def test_a_gate_that_refuses_a_release_that_was_active_is_told_and_moves_nothing(
    context: StageContext, store: ArtifactStore
) -> None:
    config = evaluated(store)
    run(config, context)
    switch.promote(context.engine, context.settings, "triage_agent", origin=WHY)
    strict = config.model_copy(update={"gates": GateThresholds(max_kl=1.0)})
    with pytest.raises(GateRefused, match=r"triage_agent version 1 stays active, but .* KL budget: .* is not at most"):
        run(strict, context)
    assert switch.list_releases(context.engine, "triage_agent")[1].state == "active"
    assert run(config, context).metrics["decision"] == "active"


def test_running_twice_registers_once(context: StageContext, store: ArtifactStore) -> None:
    config = evaluated(store)
    assert run(config, context).metrics["release_id"] == run(config, context).metrics["release_id"]
    assert len(switch.list_releases(context.engine)) == 2


def test_a_report_about_another_policy_is_no_evidence(context: StageContext, store: ArtifactStore) -> None:
    config = evaluated(store)
    other = build(store, "policy", "config.json", "other weights")
    with pytest.raises(InputError, match="is not about"):
        run(config.model_copy(update={"policy": other}), context)
    with pytest.raises(InputError, match="a policy is wanted"):
        run(config.model_copy(update={"policy": config.report}), context)


def test_damaged_weights_are_not_promoted(context: StageContext, store: ArtifactStore) -> None:
    config = evaluated(store)
    run(config, context)
    (store.path(config.policy) / "config.json").write_text("changed")
    with pytest.raises(StorageError, match="damaged"):
        switch.promote(context.engine, context.settings, "triage_agent", origin=WHY)


def test_a_crash_between_commit_and_document_is_healed_by_sync(
    context: StageContext, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(evaluated(store), context)
    reader = DocumentReader(context.settings.deployments_file)

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(switch, "sync", crash)
        with pytest.raises(KeyboardInterrupt):
            switch.promote(context.engine, context.settings, "triage_agent", origin=WHY)
    assert reader.current().agents["triage_agent"].stable.version == 0
    switch.synchronize(context.engine, context.settings)
    assert reader.current().agents["triage_agent"].stable.version == 1
