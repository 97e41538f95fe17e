"""An experiment's id in, its assignments, exposures, judgements and duels out; no text is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import judgements
from preceptor.db.tables.ops import User
from preceptor.db.tables.rollout import ExperimentAssignment, Exposure
from preceptor.experiment.assign import CONTROL, TREATMENT
from preceptor.experiment.config import DecisionPolicy
from preceptor.experiment.outcomes import AssignedUnit, Duel, Judgement, Records, ShownAnswer

_DUEL_SCORE = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


def load_records(session: Session, experiment_id: str) -> Records:
    """Read what may decide an experiment; withdrawn and rejected judgements are left out."""
    assigned = session.execute(
        sa.select(ExperimentAssignment)
        .where(ExperimentAssignment.experiment_id == experiment_id)
        .order_by(ExperimentAssignment.id)
    ).scalars()
    units, by_clinician = [], {}
    for row in assigned:
        arm = TREATMENT if row.arm == TREATMENT else CONTROL
        units.append(AssignedUnit(row.unit, arm, row.assigned_at))
        if row.clinician_id is not None:
            by_clinician[row.clinician_id] = row.unit
    exposures = session.execute(
        sa.select(Exposure.unit, Exposure.arm, Exposure.interaction_id, Exposure.at)
        .where(Exposure.experiment_id == experiment_id)
        .order_by(Exposure.id)
    )
    shown = [ShownAnswer(row.unit, row.arm, row.interaction_id, row.at) for row in exposures]
    return Records(
        assigned=units,
        shown=shown,
        judgements=_judgements(session, experiment_id, by_clinician),
        duels=_duels(session, experiment_id, by_clinician),
    )


def count_simulated(session: Session, experiment_id: str) -> int:
    """How many assigned clinicians are simulated: a decision has to say whom it rests on."""
    statement = (
        sa.select(sa.func.count())
        .select_from(ExperimentAssignment)
        .join(User, User.id == ExperimentAssignment.clinician_id)
        .where(ExperimentAssignment.experiment_id == experiment_id, User.is_simulated)
    )
    return int(session.scalar(statement) or 0)


def records_digest(records: Records, *, policy: DecisionPolicy, final: bool) -> str:
    """SHA-256 over everything a decision rests on: the same digest must give the same verdict again."""
    content: dict[str, Any] = {
        "records": dataclasses.asdict(records),
        "policy": policy.model_dump(mode="json"),
        "final": final,
    }
    text = json.dumps(content, sort_keys=True, default=lambda value: value.isoformat())
    return hashlib.sha256(text.encode()).hexdigest()


def _judgements(session: Session, experiment_id: str, by_clinician: dict[int, str]) -> list[Judgement]:
    shown = sa.select(Exposure.interaction_id).where(Exposure.experiment_id == experiment_id)
    columns = judgements.c
    rows = session.execute(
        sa.select(judgements)
        .where(
            columns.kind == "feedback",
            columns.withdrawn_at.is_(None),
            columns.review_status != "rejected",
            columns.interaction_id.in_(shown),
            columns.clinician_id.in_(by_clinician),
        )
        .order_by(columns.created_at, columns.source_id)
    ).mappings()
    return [
        Judgement(
            unit=by_clinician[row["clinician_id"]],
            interaction_id=row["interaction_id"],
            rating=row["rating"] if row["instrument"] == "stars" else None,
            harm_severity=row["harm_severity"],
            confirmed=row["review_status"] == "accepted",
            at=row["created_at"],
        )
        for row in rows
    ]


def _duels(session: Session, experiment_id: str, by_clinician: dict[int, str]) -> list[Duel]:
    columns = judgements.c
    rows = session.execute(
        sa.select(judgements)
        .where(
            columns.kind == "preference",
            columns.experiment_id == experiment_id,
            columns.withdrawn_at.is_(None),
            columns.review_status != "rejected",
            columns.outcome.in_(_DUEL_SCORE),
            columns.clinician_id.is_not(None),
            sa.or_(
                sa.and_(columns.arm == TREATMENT, columns.arm_b == CONTROL),
                sa.and_(columns.arm == CONTROL, columns.arm_b == TREATMENT),
            ),
        )
        .order_by(columns.created_at, columns.source_id)
    ).mappings()
    duels = []
    for row in rows:
        score = _DUEL_SCORE[row["outcome"]]
        clinician = row["clinician_id"]
        duels.append(
            Duel(
                unit=by_clinician.get(clinician, f"clinician:{clinician}"),
                prompt=row["prompt_hash"],
                interactions=(row["interaction_id"] or "", row["interaction_b"] or ""),
                treatment_score=score if row["arm"] == TREATMENT else 1.0 - score,
                at=row["created_at"],
            )
        )
    return duels
