"""A file to import in, its report out; or nothing in, and a count of what has come in and may train out."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from preceptor.collect.config import CollectConfig
from preceptor.collect.importer import ImportOptions, ImportReport, import_file
from preceptor.db import audit
from preceptor.db.encrypted import make_cipher
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import judgements
from preceptor.db.tables.ops import Consent
from preceptor.stage import StageContext, StageResult


def run(config: CollectConfig, context: StageContext) -> StageResult:
    """Import `config.file`, or count.

    Raises:
        InputError: the file is unreadable, empty, cut off or has lines that are rejected; nothing is imported then.
    """
    if config.file is not None:
        report = import_into(config, context, path=config.file)
        counts = report.counts()
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing to do"
        would = "A dry run of" if config.dry_run else "Imported"
        return StageResult(f"{would} {config.file.name}: {told}.", metrics={"kind": report.kind, **counts})
    with session_scope(context.engine) as session:
        metrics = tally(session, simulated=context.settings.retrain_on_simulated)
    summary = f"{metrics['judgements']} judgements have come in; {metrics['eligible']} may train a model."
    return StageResult(summary, metrics=metrics)


def import_into(config: CollectConfig, context: StageContext, *, path: Path) -> ImportReport:
    """Import in one transaction and note it in the audit trail. The report has a result for each line."""
    options = ImportOptions(
        kind=config.kind,
        dry_run=config.dry_run,
        skip_rejected=config.skip_rejected,
        anonymous=config.anonymous,
    )
    with session_scope(context.engine) as session:
        report = import_file(session, make_cipher(context.settings), path=path, options=options)
        if not config.dry_run:
            audit.record(session, actor_id=None, action="import", target=report.kind, **report.counts())
    return report


def tally(session: Session, *, simulated: bool = False) -> dict[str, int]:
    """How many live judgements there are, of which instrument, and how many are eligible for training.

    Eligible, by the rule that starts a round: not withdrawn, not rejected in review, not `cannot_judge`, not a bare
    comment, of a simulated clinician only where `simulated` says so, and consented to. A judgement given through a
    door needs its clinician's latest consent event to grant `internal_training`; rows by plain SQL and imports count
    unless their clinician has withdrawn consent.
    """
    columns = judgements.c
    latest = (
        sa.select(Consent.clinician_id, Consent.granted, Consent.scope)
        .ext(distinct_on(Consent.clinician_id))
        .order_by(Consent.clinician_id, Consent.id.desc())
        .subquery()
    )
    brought = columns.source.in_(("seed", "import"))
    consented = sa.or_(
        sa.and_(latest.c.granted, latest.c.scope == "internal_training"),
        sa.and_(brought, latest.c.granted.is_(None)),
    )
    told = sa.func.coalesce(columns.outcome, "") != "cannot_judge"
    teaches = sa.and_(columns.instrument != "comment", sa.or_(sa.literal(simulated), sa.not_(columns.is_simulated)))
    eligible = sa.and_(columns.review_status != "rejected", told, teaches, consented)
    rows = session.execute(
        sa.select(columns.instrument, sa.func.count(), sa.func.count().filter(eligible))
        .select_from(judgements.outerjoin(latest, latest.c.clinician_id == columns.clinician_id))
        .where(columns.withdrawn_at.is_(None))
        .group_by(columns.instrument)
        .order_by(columns.instrument)
    ).all()
    by_instrument = {f"judgements_{instrument}": count for instrument, count, _ in rows}
    return {
        "judgements": sum(count for _, count, _ in rows),
        "eligible": sum(count for _, _, count in rows),
        **by_instrument,
    }
