"""What a stage of a round is given by the stages before it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import Engine

from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import Alias, Release
from preceptor.errors import ConfigError, NotFoundError
from preceptor.pipeline import (
    CLOSING_STAGE,
    ROUND_STAGES,
    STAGES,
    RoundConfig,
    active_model,
    check_round,
    config_class,
    parse_config,
    wire,
)
from preceptor.settings import Settings

MADE = {"prepare": "dataset-1", "reward": "reward_model-1", "policy": "policy-1", "evaluate": "report-1"}


def test_the_line_has_nine_stages_and_a_round_follows_it():
    assert len(STAGES) == 9
    positions = [STAGES.index(stage) for stage in (*ROUND_STAGES, CLOSING_STAGE)]
    assert positions == sorted(positions)


@pytest.mark.parametrize("stage", [*ROUND_STAGES, CLOSING_STAGE])
def test_every_stage_of_a_round_accepts_what_it_is_wired(stage: str, settings: Settings):
    config = RoundConfig(agent_name="triage_agent")
    values = wire(stage, config, artifacts=MADE, settings=settings)
    assert parse_config(stage, values).model_dump(mode="json").items() >= values.items()


def test_artifacts_and_models_reach_the_fields_that_need_them(settings: Settings):
    config = RoundConfig(agent_name="triage_agent", overrides={"reward": {"base_model": "other"}})
    give = {"artifacts": MADE, "settings": settings}
    assert wire("prepare", config, **give)["agent_name"] == "triage_agent"
    assert wire("reward", config, **give) == {"dataset": "dataset-1", "base_model": "other"}
    assert wire("policy", config, **give) == {"reward_model": "reward_model-1", "base_model": settings.policy_model}
    judged = wire("evaluate", config, active_model="policy-0", **give)
    assert judged["baseline"] == "policy-0"
    assert (judged["policy"], judged["reward_model"], judged["dataset"]) == ("policy-1", "reward_model-1", "dataset-1")
    released = wire("release", config, **give)
    assert (released["policy"], released["report"], released["agent_name"]) == ("policy-1", "report-1", "triage_agent")


def test_a_stage_whose_input_is_missing_is_named(settings: Settings):
    with pytest.raises(ConfigError, match="policy stage needs what reward makes"):
        wire("policy", RoundConfig(), artifacts={}, settings=settings)
    with pytest.raises(NotFoundError, match="no stage 'polcy'"):
        config_class("polcy")


def test_a_bad_value_is_refused_without_being_quoted(settings: Settings):
    bad = RoundConfig(overrides={"policy": {"ppo_epochs": "a patient's name"}})
    with pytest.raises(ConfigError, match="'ppo_epochs'") as refusal:
        check_round(bad, settings)
    assert "patient" not in refusal.value.message


def test_the_active_release_is_what_a_candidate_is_measured_against(engine: Engine):
    with session_scope(engine) as session:
        assert active_model(session, "triage_agent") is None
        common = {"agent_name": "triage_agent", "state": "active"}
        session.add(Release(release_id="r1", version=1, model="policy-7", digest="d", **common))
        session.flush()
        session.add(Alias(agent_name="triage_agent", alias="active", release_id="r1", generation=1))
        session.flush()
        assert active_model(session, "triage_agent") == "policy-7"
        assert active_model(session, None) is None


def test_reading_configs_does_not_load_torch():
    script = (
        "import sys; from preceptor.pipeline import *\n"
        "for stage in STAGES: config_class(stage)\n"
        "heavy = {'torch', 'transformers', 'spacy', 'datasets'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
