"""Experiments, sticky assignments and exposures in and out of the database; doors commit."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.db.tables.rollout import Alias, Experiment, ExperimentAssignment, Exposure, Release
from preceptor.errors import ConflictError, InputError, NotFoundError
from preceptor.experiment.assign import CONTROL, TREATMENT, Arm, block_arm, hashed_arm, is_enrolled, unit_pseudonym
from preceptor.experiment.config import DecisionPolicy

OPEN_STATES = ("running", "paused")


@dataclass(frozen=True)
class Assigned:
    """Which answer a clinician gets. `arm` is None outside the experiment: serve the baseline, log no exposure."""

    experiment_id: str
    unit: str
    arm: Arm | None
    release_id: str
    is_new: bool


def create_experiment(
    session: Session,
    *,
    agent_name: str,
    control_release_id: str,
    treatment_release_id: str,
    policy: DecisionPolicy | None = None,
    allocation: Literal["blocks", "hash"] = "blocks",
    coverage: float = 1.0,
    experiment_id: str | None = None,
) -> Experiment:
    """Start comparing two releases of an agent.

    Raises:
        ConflictError: the agent already has an experiment that runs or is paused.
        InputError: both releases are the same, or one is of another agent.
    """
    if control_release_id == treatment_release_id:
        raise InputError(f"An experiment needs two releases; both are '{control_release_id}'.")
    for release_id in (control_release_id, treatment_release_id):
        release = session.scalar(sa.select(Release).where(Release.release_id == release_id))
        if release is None or release.agent_name != agent_name:
            raise InputError(f"'{release_id}' is not a release of agent '{agent_name}'.")
    experiment_id = experiment_id or f"exp_{secrets.token_hex(6)}"
    row = {
        "experiment_id": experiment_id,
        "agent_name": agent_name,
        "control_release_id": control_release_id,
        "treatment_release_id": treatment_release_id,
        "hash_seed": experiment_id,
        "coverage": coverage,
        "config": {"allocation": allocation, "policy": (policy or DecisionPolicy()).model_dump(mode="json")},
    }
    statement = insert(Experiment).values(row).on_conflict_do_nothing().returning(Experiment)
    created: Experiment | None = session.scalar(statement)
    if created is None:
        raise ConflictError(
            f"Agent '{agent_name}' already has an open experiment, or '{experiment_id}' was used before. "
            "Decide or end the open one first."
        )
    return created


def start_from_aliases(
    session: Session,
    *,
    agent_name: str,
    policy: DecisionPolicy | None = None,
    allocation: Literal["blocks", "hash"] = "blocks",
    coverage: float = 1.0,
) -> Experiment:
    """Start comparing the agent's candidate release (treatment) with its active one (control)."""
    rows = session.execute(sa.select(Alias.alias, Alias.release_id).where(Alias.agent_name == agent_name))
    aliases = {row.alias: row.release_id for row in rows}
    active, candidate = aliases.get("active"), aliases.get("candidate")
    if active is None or candidate is None:
        missing = "active" if active is None else "candidate"
        raise NotFoundError(f"Agent '{agent_name}' has no {missing} release to compare; release one first.")
    return create_experiment(
        session,
        agent_name=agent_name,
        control_release_id=active,
        treatment_release_id=candidate,
        policy=policy,
        allocation=allocation,
        coverage=coverage,
    )


def open_experiment(session: Session, agent_name: str) -> Experiment | None:
    """The experiment of an agent that runs or is paused, if there is one."""
    return session.scalar(
        sa.select(Experiment).where(Experiment.agent_name == agent_name, Experiment.state.in_(OPEN_STATES))
    )


def find_experiment(session: Session, experiment_id: str) -> Experiment:
    """An experiment by its id, in any state."""
    found = session.scalar(sa.select(Experiment).where(Experiment.experiment_id == experiment_id))
    if found is None:
        raise NotFoundError(f"There is no experiment '{experiment_id}'.")
    return found


def assign(
    session: Session, experiment: Experiment, *, clinician_id: int, key: bytes, stratum: str | None = None
) -> Assigned:
    """The clinician's arm: the stored one if there is one, else a new one, written before it is used.

    While the experiment does not run, everybody gets the control release and no new unit is taken in.
    """
    unit = unit_pseudonym(clinician_id, key)
    stored = _stored_arm(session, experiment.experiment_id, unit)
    if experiment.state != "running":
        return _outcome(experiment, unit, None, is_new=False)
    if stored is not None:
        return _outcome(experiment, unit, stored, is_new=False)
    arm = _new_arm(session, experiment, unit, stratum)
    if arm is None:
        return _outcome(experiment, unit, None, is_new=False)
    row = {
        "experiment_id": experiment.experiment_id,
        "unit": unit,
        "clinician_id": clinician_id,
        "arm": arm,
        "probability": 0.5,
        "stratum": stratum,
    }
    written = session.scalar(
        insert(ExperimentAssignment).values(row).on_conflict_do_nothing().returning(ExperimentAssignment.id)
    )
    if written is None:  # another request of the same clinician was first: its arm counts
        arm = _stored_arm(session, experiment.experiment_id, unit)
    return _outcome(experiment, unit, arm, is_new=written is not None)


def log_exposure(
    session: Session,
    *,
    experiment_id: str,
    unit: str,
    arm: Arm,
    interaction_id: str | None = None,
    model_digest: str | None = None,
    generation: int | None = None,
    latency_ms: int | None = None,
) -> bool:
    """Note that a unit was shown an answer of an arm; returns True when that is not its stored arm (a crossover)."""
    session.add(
        Exposure(
            exposure_id=f"exposure_{secrets.token_hex(8)}",
            experiment_id=experiment_id,
            unit=unit,
            arm=arm,
            interaction_id=interaction_id,
            model_digest=model_digest,
            generation=generation,
            latency_ms=latency_ms,
        )
    )
    session.flush()
    return _stored_arm(session, experiment_id, unit) != arm


def raise_coverage(session: Session, experiment: Experiment, coverage: float) -> None:
    """Let more units in. Lowering would throw out units that were already counted, so it is refused."""
    if not experiment.coverage <= coverage <= 1:
        raise InputError(f"Coverage can rise from {experiment.coverage} to at most 1, not change to {coverage}.")
    experiment.coverage = coverage
    session.flush()


def resume(session: Session, experiment: Experiment) -> None:
    """Let a paused experiment run on after a person has looked; ids and arms stay."""
    if experiment.state != "paused":
        raise ConflictError(f"Experiment '{experiment.experiment_id}' is {experiment.state}, not paused.")
    experiment.state = "running"
    session.flush()


def end(session: Session, experiment: Experiment, *, state: str, at: datetime) -> None:
    """Close an experiment for good."""
    experiment.state = state
    experiment.ended_at = at
    session.flush()


def _stored_arm(session: Session, experiment_id: str, unit: str) -> Arm | None:
    found = session.scalar(
        sa.select(ExperimentAssignment.arm).where(
            ExperimentAssignment.experiment_id == experiment_id, ExperimentAssignment.unit == unit
        )
    )
    return None if found is None else (TREATMENT if found == TREATMENT else CONTROL)


def _new_arm(session: Session, experiment: Experiment, unit: str, stratum: str | None) -> Arm | None:
    if experiment.config.get("allocation") == "hash":
        return hashed_arm(experiment.hash_seed, unit, coverage=experiment.coverage)
    if not is_enrolled(experiment.hash_seed, unit, coverage=experiment.coverage):
        return None
    # Positions in a block are handed out one at a time: lock the experiment, then count its stratum.
    session.execute(
        sa.select(Experiment.id).where(Experiment.experiment_id == experiment.experiment_id).with_for_update()
    )
    stored = _stored_arm(session, experiment.experiment_id, unit)
    if stored is not None:
        return stored
    position = session.scalar(
        sa.select(sa.func.count())
        .select_from(ExperimentAssignment)
        .where(
            ExperimentAssignment.experiment_id == experiment.experiment_id,
            ExperimentAssignment.stratum.is_not_distinct_from(stratum),
        )
    )
    return block_arm(experiment.hash_seed, stratum or "", int(position or 0))


def _outcome(experiment: Experiment, unit: str, arm: Arm | None, *, is_new: bool) -> Assigned:
    release = experiment.treatment_release_id if arm == TREATMENT else experiment.control_release_id
    return Assigned(experiment.experiment_id, unit, arm, release, is_new)
