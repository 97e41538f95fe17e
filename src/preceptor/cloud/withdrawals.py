"""The datasets behind a job and the database in, leave to send them out, or a refusal: consent may be gone since."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.store import ArtifactStore
from preceptor.cloud.gate import AGAIN, family
from preceptor.cloud.runner import Job
from preceptor.db.standing import standing_judgements
from preceptor.db.tables.curated import DatasetMember
from preceptor.errors import GateRefused, NotFoundError


def require_standing(session: Session, dataset_id: str) -> None:
    """Pass a dataset of which every judgement may still be learned from; one that the database does not know passes.

    Raises:
        GateRefused: one was withdrawn, or rejected in review, or its clinician withdrew consent.
    """
    standing = standing_judgements()
    known = sa.and_(standing.c.kind == DatasetMember.kind, standing.c.source_id == DatasetMember.source_id)
    total, gone = session.execute(
        sa.select(sa.func.count(), sa.func.count().filter(standing.c.source_id.is_(None)))
        .select_from(DatasetMember)
        .outerjoin(standing, known)
        .where(DatasetMember.artifact_id == dataset_id)
    ).one()
    if gone:
        raise GateRefused(
            f"{dataset_id} stays here: {gone} of its {total} judgements may no longer be used. They were withdrawn, or "
            f"rejected in review, or their clinician withdrew consent, after it was prepared. {AGAIN}"
        )


def datasets_behind(job: Job, store: ArtifactStore) -> Iterator[str]:
    """The ids of the datasets that the job's artifacts are or were made from."""
    for item in job.inputs:
        try:
            artifact = store.open(item.key)
        except NotFoundError:
            continue  # a public model, or a file
        yield from (found.id for found in family(artifact, store) if found.kind == "dataset")
