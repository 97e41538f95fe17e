"""Finished runs in, what they measured out: the reward model's accuracy and the policy's improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.lineage import Round, Run
from preceptor.monitor.measures import PolicyImprovement, RewardAccuracy
from preceptor.stats.intervals import Interval


def reward_accuracy(session: Session) -> RewardAccuracy | None:
    """What the newest finished reward run measured on its held-out set; None before there is one."""
    run = _newest_run(session, "reward", None)
    if run is None or (accuracy := _interval(run.metrics, "accuracy", "test_pairs")) is None:
        return None
    return RewardAccuracy(run.run_id, accuracy, _number(run.metrics, "length_only_accuracy"), run.ended_at)


def policy_improvement(session: Session, *, agent_name: str | None = None) -> PolicyImprovement | None:
    """What the newest finished evaluate run measured; None before there is one.

    For one agent, the runs of its rounds count, and of rounds for all agents; a run by hand belongs to no agent.
    """
    run = _newest_run(session, "evaluate", agent_name)
    if run is None or (rate := _interval(run.metrics, "win_rate", "n_prompts")) is None:
        return None
    return PolicyImprovement(run.run_id, rate, _number(run.metrics, "kl"), run.ended_at)


def _newest_run(session: Session, stage: str, agent_name: str | None) -> Run | None:
    statement = sa.select(Run).where(Run.stage == stage, Run.state == "succeeded")
    if agent_name is not None:
        own = sa.or_(Round.agent_name == agent_name, Round.agent_name.is_(None))
        statement = statement.join(Round, Round.round_id == Run.round_id).where(own)
    return session.scalar(statement.order_by(Run.ended_at.desc().nulls_last(), Run.id.desc()).limit(1))


def _interval(metrics: Mapping[str, Any], name: str, count: str) -> Interval | None:
    estimate = _number(metrics, name)
    if estimate is None:
        return None
    low, high = _number(metrics, f"{name}_low"), _number(metrics, f"{name}_high")
    return Interval(
        estimate,
        float("-inf") if low is None else low,
        float("inf") if high is None else high,
        int(_number(metrics, count) or 0),
    )


def _number(metrics: Mapping[str, Any], name: str) -> float | None:
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
