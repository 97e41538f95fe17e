"""An agent's running experiment in, a decision with its reason in the experiment's row out."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from preceptor import __version__
from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import Experiment
from preceptor.errors import ConflictError, NotFoundError
from preceptor.experiment.analyze import Decision, analyze
from preceptor.experiment.config import DecisionPolicy, ExperimentConfig
from preceptor.experiment.records import count_simulated, load_records, records_digest
from preceptor.experiment.store import OPEN_STATES, end, find_experiment, open_experiment, start_from_aliases
from preceptor.stage import StageContext, StageResult

_ENDED = {"promote": "promoted", "roll_back": "rolled_back", "inconclusive": "inconclusive"}


def run(config: ExperimentConfig, context: StageContext) -> StageResult:
    """Start the agent's experiment, or analyze it and write the decision into its row.

    A decided experiment is not decided again: its stored decision is returned. The release stage acts on it.

    Raises:
        NotFoundError: there is nothing to analyze, or no candidate to start with.
    """
    with session_scope(context.engine) as session:
        experiment = (
            find_experiment(session, config.experiment_id)
            if config.experiment_id
            else open_experiment(session, config.agent_name)
        )
        if config.action == "start" or (config.action == "auto" and experiment is None):
            return _start(session, config, experiment)
        if experiment is None:
            raise NotFoundError(f"Agent '{config.agent_name}' has no open experiment; start one with --action start.")
        decision = decide(session, experiment, final=config.final, now=datetime.now(UTC))
        context.progress(1, 1, {"verdict": decision["verdict"]})
        return StageResult(summary=decision["reason"], metrics=_metrics(experiment, decision))


def decide(session: Session, experiment: Experiment, *, final: bool, now: datetime) -> dict[str, Any]:
    """Analyze an experiment and store the decision and the state that follows from it; returns the stored decision.

    A paused experiment is only ever ended here, never promoted: a person resumes it first.
    """
    session.refresh(experiment, with_for_update=True)
    if experiment.state not in OPEN_STATES:
        if not experiment.decision:
            raise ConflictError(f"Experiment '{experiment.experiment_id}' was ended by hand, without a decision.")
        return experiment.decision
    policy = DecisionPolicy.model_validate(experiment.config.get("policy", {}))
    records = load_records(session, experiment.experiment_id)
    decision = analyze(records, policy=policy, now=now, final=final)
    if experiment.state == "paused" and decision.verdict in ("promote", "continue"):
        reason = f"The experiment is paused and stays so until a person resumes it. {decision.reason}"
        decision = dataclasses.replace(decision, verdict="pause", reason=reason)
    experiment.decision = _document(
        decision,
        decided_at=now.isoformat(),
        final=final,
        inputs_sha256=records_digest(records, policy=policy, final=final),
        code_version=__version__,
        simulated_clinicians=count_simulated(session, experiment.experiment_id),
    )
    if decision.verdict == "pause":
        experiment.state = "paused"
    elif decision.verdict in _ENDED:
        end(session, experiment, state=_ENDED[decision.verdict], at=now)
    session.flush()
    return experiment.decision


def _start(session: Session, config: ExperimentConfig, existing: Experiment | None) -> StageResult:
    if existing is not None:
        raise ConflictError(f"Experiment '{existing.experiment_id}' is {existing.state}; decide it before a new one.")
    created = start_from_aliases(
        session,
        agent_name=config.agent_name,
        policy=config.policy,
        allocation=config.allocation,
        coverage=config.coverage,
    )
    summary = (
        f"Experiment {created.experiment_id} compares {created.treatment_release_id} with "
        f"{created.control_release_id} for {config.agent_name}."
    )
    return StageResult(summary=summary, metrics={"experiment_id": created.experiment_id, "verdict": "started"})


def _document(decision: Decision, **facts: Any) -> dict[str, Any]:
    document: dict[str, Any] = _plain({**dataclasses.asdict(decision), **facts})
    return document


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: an unknown bound is null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _metrics(experiment: Experiment, decision: dict[str, Any]) -> dict[str, Any]:
    evidence = decision["evidence"]
    return {
        "experiment_id": experiment.experiment_id,
        "verdict": decision["verdict"],
        "clinicians/control": evidence["control"]["exposed"],
        "clinicians/treatment": evidence["treatment"]["exposed"],
        "clinicians/simulated": decision["simulated_clinicians"],
        "satisfaction/control": evidence["control"]["satisfaction"]["estimate"],
        "satisfaction/treatment": evidence["treatment"]["satisfaction"]["estimate"],
        "satisfaction/difference": evidence["satisfaction_difference"]["estimate"],
        "satisfaction/difference_low": evidence["satisfaction_difference"]["low"],
        "satisfaction/difference_high": evidence["satisfaction_difference"]["high"],
        "duels/win_rate": evidence["duels"]["win_rate"]["estimate"],
        "duels/win_rate_low": evidence["duels"]["win_rate"]["low"],
        "duels/win_rate_high": evidence["duels"]["win_rate"]["high"],
        "duels/n": evidence["duels"]["duels"],
        **{f"log_evidence/{name}": value for name, value in evidence["log_evidence"].items()},
    }
