"""Consents, withdrawals and lineage in; the datasets and models that hold what may no longer be learned from out."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import DatasetMember, judgements
from preceptor.db.tables.lineage import ArtifactParent, ArtifactRow
from preceptor.db.tables.ops import Consent

_MODELS = ("reward_model", "policy")


@dataclass(frozen=True)
class Stale:
    """Artifact ids: datasets with a judgement that was taken back, and the models made from them."""

    datasets: list[str]
    models: list[str]


def stale_artifacts(session: Session) -> Stale:
    """Every stale dataset, with the reward models and policies that descend from one, in the order of their ids."""
    datasets = stale_datasets(session)
    descent = (
        sa.select(ArtifactParent.artifact_id)
        .where(ArtifactParent.parent_id.in_(datasets))
        .cte("descent", recursive=True)
    )
    descent = descent.union(
        sa.select(ArtifactParent.artifact_id).join(descent, ArtifactParent.parent_id == descent.c.artifact_id)
    )
    made = sa.select(ArtifactRow.artifact_id).where(
        ArtifactRow.artifact_id.in_(sa.select(descent.c.artifact_id)), ArtifactRow.kind.in_(_MODELS)
    )
    return Stale(datasets, list(session.scalars(made.order_by(ArtifactRow.artifact_id))))


def stale_datasets(session: Session) -> list[str]:
    """The datasets that hold a judgement which was withdrawn, or whose clinician no longer lets it train a model."""
    newest = sa.select(sa.func.max(Consent.id)).group_by(Consent.clinician_id)
    latest = sa.select(Consent.clinician_id, Consent.granted, Consent.scope).where(Consent.id.in_(newest)).subquery()
    taken_back = sa.or_(
        judgements.c.withdrawn_at.is_not(None), latest.c.granted.is_(False), latest.c.scope != "internal_training"
    )
    statement = (
        sa.select(DatasetMember.artifact_id)
        .join(
            judgements,
            sa.and_(judgements.c.kind == DatasetMember.kind, judgements.c.source_id == DatasetMember.source_id),
        )
        .outerjoin(latest, latest.c.clinician_id == judgements.c.clinician_id)
        .where(taken_back)
        .distinct()
        .order_by(DatasetMember.artifact_id)
    )
    return list(session.scalars(statement))
