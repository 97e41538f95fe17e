"""Curated records in, a published dataset out, with the exact judgements it holds."""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.lineage import record_artifact
from preceptor.db.engine import session_scope
from preceptor.db.standing import standing_judgements
from preceptor.db.tables.curated import CuratedRecord, DatasetMember, judgements
from preceptor.errors import DataError
from preceptor.prepare.config import PrepareConfig
from preceptor.prepare.dataset import Prepared, prepare
from preceptor.prepare.deidentification import deidentification
from preceptor.prepare.files import write_dataset
from preceptor.prepare.pairs import Judgement
from preceptor.privacy.scrub import SCRUBBER_VERSION
from preceptor.stage import StageContext, StageResult


def run(config: PrepareConfig, context: StageContext) -> StageResult:
    """Build and publish the dataset of what may be learned from now.

    Raises:
        DataError: the judgements make no pairs, or pairs for one prompt only.
        StorageError: the artifact cannot be written.
    """
    with session_scope(context.engine) as session:
        records = usable_judgements(session, config)
        if not records:
            raise DataError(_nothing(session, config))
        held = _held(session, config)
    deidentified = deidentification(Counter(record.scrubber_version for record in records))
    prepared = prepare(
        records,
        minimum_gap=config.minimum_gap,
        test_share=config.test_share,
        validation_share=config.validation_share,
        rater_share=config.rater_share,
        seed=config.seed,
    )
    counts = prepared.counts()
    context.progress(1, 2, {"pairs": counts["pairs"]})
    with context.store.building("dataset") as build:
        write_dataset(build.path, prepared, deidentified)
        build.metadata |= {"counts": counts, "config": config.model_dump(), "scrubber_version": SCRUBBER_VERSION}
        build.metadata["deidentification"] = {**deidentified, "held_back": held}
    artifact = build.artifact
    with session_scope(context.engine) as session:
        record_artifact(session, artifact, run_id=context.run_id)
        _record_members(session, artifact.id, prepared)
    context.progress(2, 2, {"pairs": counts["pairs"]})
    return StageResult(summary=_summary(prepared), artifact_id=artifact.id, metrics=dict(counts))


def usable_judgements(session: Session, config: PrepareConfig) -> list[Judgement]:
    """Return the clear records whose judgement is not withdrawn and whose clinician has not withdrawn consent."""
    standing = standing_judgements()
    statement = (
        sa.select(CuratedRecord)
        .join(
            standing,
            sa.and_(standing.c.kind == CuratedRecord.kind, standing.c.source_id == CuratedRecord.source_id),
        )
        .where(CuratedRecord.status == "clear")
        .order_by(CuratedRecord.judged_at, CuratedRecord.kind, CuratedRecord.source_id)
    )
    if config.agent_name is not None:
        statement = statement.where(CuratedRecord.agent_name == config.agent_name)
    if not config.include_simulated:
        statement = statement.where(CuratedRecord.is_simulated.is_(False))
    return [_judgement(record) for record in session.scalars(statement)]


def _judgement(record: CuratedRecord) -> Judgement:
    return Judgement(
        kind=record.kind,
        source_id=record.source_id,
        revision=record.source_revision,
        prompt=record.prompt or "",
        response_a=record.response_a or "",
        response_b=record.response_b,
        correction=record.correction,
        instrument=record.instrument,
        rating=record.rating,
        thumb=record.thumb,
        outcome=record.outcome,
        strength=record.strength,
        harm_a=record.harm_a,
        harm_b=record.harm_b,
        rater=record.rater,
        agent_name=record.agent_name,
        specialty=record.specialty,
        is_simulated=record.is_simulated,
        scrubber_version=record.scrubber_version if record.status == "clear" else None,
    )


def _held(session: Session, config: PrepareConfig) -> int:
    """How many records wait for a person because de-identification failed on them; none of them is in a dataset."""
    statement = sa.select(sa.func.count()).where(CuratedRecord.status == "held")
    if config.agent_name is not None:
        statement = statement.where(CuratedRecord.agent_name == config.agent_name)
    return session.scalar(statement) or 0


def _record_members(session: Session, artifact_id: str, prepared: Prepared) -> None:
    known = sa.select(sa.func.count()).where(DatasetMember.artifact_id == artifact_id)
    if not session.scalar(known):
        session.execute(
            sa.insert(DatasetMember), [{"artifact_id": artifact_id, **member} for member in prepared.members()]
        )


def _nothing(session: Session, config: PrepareConfig) -> str:
    counted = sa.select(CuratedRecord.status, sa.func.count()).group_by(CuratedRecord.status)
    by_status = {row[0]: row[1] for row in session.execute(counted)}
    if not by_status:
        collected = session.scalar(sa.select(sa.func.count()).select_from(judgements))
        first = "run `preceptor curate`" if collected else "no judgement is collected"
        return f"Nothing is curated yet: {first}."
    listed = ", ".join(f"{count} {status}" for status, count in sorted(by_status.items()))
    simulated = "" if config.include_simulated else " Judgements of simulated clinicians need --include-simulated."
    agent = f" of {config.agent_name}" if config.agent_name else ""
    return f"No judgement{agent} may be used; of all curated records there are {listed}.{simulated}"


def _summary(prepared: Prepared) -> str:
    counts = prepared.counts()
    ties = f" Beside them are {counts['ties']} ties." if counts["ties"] else ""
    return (
        f"{counts['pairs']} pairs on {len({p.prompt for p, _ in prepared.pairs})} prompts from {counts['judgements']} "
        f"judgements of {counts['raters']} clinicians: {counts['pairs_train']} to train on, "
        f"{counts['pairs_validation']} for validation, {counts['pairs_test']} held out.{ties}"
    )
