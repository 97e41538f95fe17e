"""Published artifacts in, rows of the lineage out: what was made from what, and by which run."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.artifacts.store import Artifact
from preceptor.db.tables.lineage import ArtifactParent, ArtifactRow


def record_artifact(session: Session, artifact: Artifact, *, run_id: str | None) -> None:
    """Store an artifact and its parents; recording the same one again changes nothing."""
    row = {"artifact_id": artifact.id, "kind": artifact.kind, "run_id": run_id, "details": artifact.metadata}
    session.execute(insert(ArtifactRow).values(row).on_conflict_do_nothing())
    for parent in artifact.parents:
        edge = {"artifact_id": artifact.id, "parent_id": parent}
        session.execute(insert(ArtifactParent).values(edge).on_conflict_do_nothing())


def ancestors(session: Session, artifact_id: str) -> list[str]:
    """Every artifact that `artifact_id` was made from, nearest first."""
    found: list[str] = []
    frontier = [artifact_id]
    while frontier:
        statement = select(ArtifactParent.parent_id).where(ArtifactParent.artifact_id.in_(frontier))
        frontier = [parent for parent in session.scalars(statement) if parent not in found]
        found.extend(dict.fromkeys(frontier))
    return found
