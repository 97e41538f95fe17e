"""The line that data travels: the nine stages in order, where each lives, and what each hands to the next.

A round that a worker runs goes from curate to release and closes with monitor. Collect is how judgements come in;
experiment and monitor also run on their own schedule (`preceptor.jobs.schedule`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from preceptor.db.tables.rollout import Alias, Release
from preceptor.errors import ConfigError, NotFoundError
from preceptor.settings import Settings
from preceptor.stage import StageContext, StageResult, first_problem

STAGES = ("collect", "curate", "prepare", "reward", "policy", "evaluate", "release", "experiment", "monitor")
ROUND_STAGES = ("curate", "prepare", "reward", "policy", "evaluate", "release")
CLOSING_STAGE = "monitor"  # looks at the round that just ended; its result does not change the round's

# stage -> {config field: the earlier stage of the round whose artifact fills it}
WIRING: dict[str, dict[str, str]] = {
    "reward": {"dataset": "prepare"},
    "policy": {"reward_model": "reward"},
    "evaluate": {"policy": "policy", "reward_model": "reward", "dataset": "prepare"},
    "release": {"policy": "policy", "report": "evaluate"},
}

RunStage = Callable[[Any, StageContext], StageResult]


class RoundConfig(BaseModel):
    """What a round is asked to do; stored with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent_name: str | None = Field(default=None, description="The agent to improve; every agent when absent.")
    include_simulated: bool = Field(default=False, description="Also learn from simulated clinicians.")
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Config fields by stage; they win over what the round would fill in."
    )


def config_class(stage: str, *, package: str = "preceptor") -> type[BaseModel]:
    """The frozen config of a stage, from `<package>.<stage>.config`; light to import.

    Raises:
        NotFoundError: there is no such stage.
    """
    _require_stage(stage)
    module = importlib.import_module(f"{package}.{stage}.config")
    found: type[BaseModel] = getattr(module, f"{stage.capitalize()}Config")
    return found


def stage_function(stage: str, *, package: str = "preceptor") -> RunStage:
    """The `run(config, context)` of a stage, from `<package>.<stage>.run`; may import torch."""
    _require_stage(stage)
    found: RunStage = importlib.import_module(f"{package}.{stage}.run").run
    return found


def parse_config(stage: str, values: Mapping[str, Any], *, package: str = "preceptor") -> BaseModel:
    """Validate the stored or submitted fields of a stage's config.

    Raises:
        ConfigError: a field is unknown, missing or has an unusable value; the message names it without its value.
    """
    try:
        return config_class(stage, package=package).model_validate(dict(values))
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConfigError(f"The {stage} stage cannot use its field '{field}': {reason}.") from None


def wire(
    stage: str,
    round_config: RoundConfig,
    *,
    artifacts: Mapping[str, str],
    settings: Settings,
    active_model: str | None = None,
    package: str = "preceptor",
) -> dict[str, Any]:
    """The config fields of one stage of a round.

    `artifacts` maps the stages that ended to their artifact ids. Every round trains from the configured base model, so
    drift does not add up over rounds, and is measured against what the agent serves now (`active_model`).
    """
    known = config_class(stage, package=package).model_fields
    offered: dict[str, Any] = {
        "agent_name": round_config.agent_name,
        "include_simulated": round_config.include_simulated,
    }
    if stage == "reward":
        offered["base_model"] = settings.reward_model
    if stage == "policy":
        offered["base_model"] = settings.policy_model
    if stage == "evaluate":
        offered["baseline"] = active_model or settings.policy_model
    values = {name: value for name, value in offered.items() if name in known and value is not None}
    for field, source in WIRING.get(stage, {}).items():
        if source not in artifacts:
            raise ConfigError(f"The {stage} stage needs what {source} makes, but {source} made no artifact.")
        values[field] = artifacts[source]
    return {**values, **round_config.overrides.get(stage, {})}


def check_round(round_config: RoundConfig, settings: Settings, *, package: str = "preceptor") -> None:
    """Refuse a round whose overrides no stage would accept, before anything is queued.

    Raises:
        ConfigError: an override names a stage outside the round, or a field or value that its config refuses.
    """
    allowed = (*ROUND_STAGES, CLOSING_STAGE)
    for stage in round_config.overrides:
        if stage not in allowed:
            raise ConfigError(f"A round has no stage '{stage}'. Its stages are: {', '.join(allowed)}.")
        unknown = set(round_config.overrides[stage]) - set(config_class(stage, package=package).model_fields)
        if unknown:
            raise ConfigError(f"The {stage} stage has no field '{min(unknown)}'.")
        pretended = {source: f"{source}-0" for source in WIRING.get(stage, {}).values()}
        values = wire(stage, round_config, artifacts=pretended, settings=settings, package=package)
        parse_config(stage, values, package=package)


def active_model(session: Session, agent_name: str | None) -> str | None:
    """What the agent serves now: a policy artifact or the base model's name; None before its first release."""
    if agent_name is None:
        return None
    return session.scalar(
        sa.select(Release.model)
        .join(Alias, Alias.release_id == Release.release_id)
        .where(Alias.agent_name == agent_name, Alias.alias == "active")
    )


def _require_stage(stage: str) -> None:
    if stage not in STAGES:
        raise NotFoundError(f"There is no stage '{stage}'. The stages are: {', '.join(STAGES)}.")
