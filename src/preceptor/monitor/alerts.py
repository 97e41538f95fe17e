"""A snapshot in, what a person should look at out; the table keeps one open row for each thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.db.tables.ops import Alert
from preceptor.monitor.config import MonitorConfig
from preceptor.monitor.snapshot import Snapshot

# Alerts with another prefix belong to another writer and are never resolved here.
PREFIX = "monitor."
_NAMED = 6  # artifacts named in one alert; the snapshot has all of them


@dataclass(frozen=True)
class Finding:
    """One thing to look at; `key` names it for as long as it lasts."""

    key: str
    severity: Literal["info", "warning", "critical"]
    message: str


def find_alerts(snapshot: Snapshot, config: MonitorConfig) -> list[Finding]:
    """What is wrong in a snapshot. Too little data is never a finding, and never an all-clear either."""
    return [*_collection(snapshot, config), *_quality(snapshot, config), *_models(snapshot), *_operation(snapshot)]


def sync_alerts(session: Session, findings: Sequence[Finding], *, now: datetime) -> tuple[int, int]:
    """Open what is new, refresh what lasts, resolve what has passed; returns (opened, resolved)."""
    current = {PREFIX + finding.key: finding for finding in findings}
    open_rows = session.scalars(
        sa.select(Alert)
        .where(Alert.resolved_at.is_(None), Alert.key.startswith(PREFIX, autoescape=True))
        .with_for_update()
    ).all()
    resolved = 0
    for row in open_rows:
        found = current.pop(row.key, None)
        if found is None:
            row.resolved_at = now
            resolved += 1
        else:
            row.severity, row.message = found.severity, found.message
    session.flush()
    for key, finding in current.items():
        values = {"key": key, "severity": finding.severity, "message": finding.message, "raised_at": now}
        session.execute(insert(Alert).values(values).on_conflict_do_nothing())
    return len(current), resolved


def _collection(snapshot: Snapshot, config: MonitorConfig) -> list[Finding]:
    found = []
    last = snapshot.last_judgement
    if last is not None and snapshot.taken_at - last > timedelta(days=config.silence_days):
        days = (snapshot.taken_at - last).days
        found.append(Finding("silence", "warning", f"No judgement has come in for {days} days."))
    if snapshot.severe_flags:
        words = (
            f"{snapshot.severe_flags} judgements report critical harm in the last {config.recent_days} days; "
            "review them."
        )
        found.append(Finding("critical_harm", "critical", words))
    left = snapshot.left_choice
    if left.n and left.excludes(0.5):
        words = f"The answer shown first is chosen in {left.estimate:.0%} of {left.n} comparisons; 50 % is expected."
        found.append(Finding("position_bias", "warning", words))
    for key, mix in (("agent_mix", snapshot.agent_mix), ("specialty_mix", snapshot.specialty_mix)):
        if mix.status == "drifted":
            words = (
                f"The {key.replace('_', ' ')} has moved (PSI {mix.psi:.2f}, {mix.recent} recent judgements); "
                "consider retraining."
            )
            found.append(Finding(key, "warning", words))
    return found


def _quality(snapshot: Snapshot, config: MonitorConfig) -> list[Finding]:
    found = []
    for agreement in (snapshot.metrics.agreement.stars, snapshot.metrics.agreement.comparisons):
        if agreement.items >= config.minimum_items and agreement.alpha.high < config.alpha_floor:
            words = (
                f"Clinicians agree little on {agreement.instrument} judgements: alpha {agreement.alpha.estimate:.2f} "
                f"({agreement.alpha.low:.2f} to {agreement.alpha.high:.2f}) over {agreement.items} items."
            )
            found.append(Finding(f"agreement.{agreement.instrument}", "warning", words))
    ratings = snapshot.ratings
    if ratings.status == "drifted":
        words = (
            f"Satisfaction fell from {ratings.reference_mean:.2f} to {ratings.recent_mean:.2f} "
            f"over {ratings.units} clinician days."
        )
        found.append(Finding("rating_drift", "critical", words))
    return found


def _models(snapshot: Snapshot) -> list[Finding]:
    found = []
    reward, policy = snapshot.metrics.reward, snapshot.metrics.policy
    if reward is not None and reward.accuracy.low <= 0.5:
        words = (
            f"The newest reward model is right on {reward.accuracy.estimate:.0%} of held-out pairs, "
            "which cannot be told from chance."
        )
        found.append(Finding("reward_accuracy", "warning", words))
    if policy is not None and policy.win_rate.high < 0.5:
        words = f"The newest policy loses to its baseline: win rate {policy.win_rate.estimate:.2f}."
        found.append(Finding("policy_win_rate", "warning", words))
    if snapshot.stale.datasets:
        models = _listed(snapshot.stale.models) if snapshot.stale.models else "no model"
        verb = "descend" if len(snapshot.stale.models) > 1 else "descends"
        words = (
            f"Judgements in {_listed(snapshot.stale.datasets)} were taken back; {models} {verb} from them. "
            "Train again without them and promote the result."
        )
        found.append(Finding("stale_models", "warning", words))
    return found


def _operation(snapshot: Snapshot) -> list[Finding]:
    found = []
    for run_id in snapshot.stuck_runs:
        found.append(Finding(f"stuck_run.{run_id}", "warning", f"Run {run_id} is running but has gone quiet."))
    for experiment in snapshot.experiments:
        severity: Literal["warning", "critical"] = "critical" if experiment.state == "rolled_back" else "warning"
        stands = experiment.state.replace("_", " ")
        words = f"Experiment {experiment.experiment_id} is {stands}. {experiment.reason}".strip()
        found.append(Finding(f"experiment.{experiment.experiment_id}", severity, words))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
