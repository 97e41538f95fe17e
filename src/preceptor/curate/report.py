"""Curated records and judgements without text in, the numbers and the sentence that a curation run reports out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.curate.quality import Vote, agreements, rater_quality, value_of
from preceptor.curate.records import pseudonym
from preceptor.db.tables.curated import CuratedRecord, judgements


def counts(session: Session) -> dict[str, int]:
    """Return how many records are clear, held and excluded by reason, and the identifiers removed by kind."""
    counted: Counter[str] = Counter()
    statement = sa.select(CuratedRecord.status, CuratedRecord.reason, CuratedRecord.findings)
    for status, reason, findings in session.execute(statement.execution_options(yield_per=1000)):
        counted[status] += 1
        if status == "excluded":
            counted[f"excluded: {reason}"] += 1
        counted.update({f"removed {kind}": number for kind, number in findings.items()})
    return {"clear": 0, "held": 0, "excluded": 0, **counted}


def votes(session: Session, *, agent_name: str | None, key: bytes) -> list[Vote]:
    """Return every live judgement that carries a vote, oldest first; no text is read."""
    columns = judgements.c
    statement = sa.select(judgements).where(columns.withdrawn_at.is_(None), columns.clinician_id.is_not(None))
    if agent_name is not None:
        statement = statement.where(columns.agent_name == agent_name)
    found = []
    for row in session.execute(statement.order_by(columns.created_at, columns.source_id)).mappings():
        value = value_of(row["instrument"], rating=row["rating"], thumb=row["thumb"], outcome=row["outcome"])
        rater = pseudonym(row["clinician_id"], key)
        if value is None or rater is None:
            continue
        shown = row["presented_first"] if row["outcome"] in ("a", "b") else None
        first = None if shown is None else row["outcome"] == shown
        found.append(Vote(rater, row["content_hash"], row["instrument"], value, row["active_ms"], first))
    return found


def quality_metrics(
    session: Session, *, agent_name: str | None, too_fast_ms: int, rater_key: bytes
) -> dict[str, float | int]:
    """Return agreement by instrument, and how many raters work in a way that someone should look at."""
    cast = votes(session, agent_name=agent_name, key=rater_key)
    metrics: dict[str, float | int] = {}
    for found in agreements(cast):
        metrics[f"agreement_{found.instrument}_items"] = found.items
        for name in ("percent", "alpha", "gwet"):
            value = float(getattr(found, name))
            if value == value:  # NaN where nothing varies
                metrics[f"agreement_{found.instrument}_{name}"] = round(value, 4)
    raters = rater_quality(cast, too_fast_ms=too_fast_ms)
    metrics["raters"] = len(raters)
    metrics["raters_mostly_too_fast"] = sum((r.too_fast or 0) > 0.5 for r in raters)
    metrics["raters_straight_lining"] = sum((r.same_value or 0) > 0.95 for r in raters)
    return metrics


def summarize(metrics: Mapping[str, Any], touched: int) -> str:
    """Say in a sentence what a run did."""
    identifiers = sum(count for name, count in metrics.items() if name.startswith("removed "))
    held = f" {metrics['held']} are held for a person to look at." if metrics["held"] else ""
    return (
        f"{metrics['clear']} judgements are clear and {metrics['excluded']} excluded; {touched} were new or changed, "
        f"{identifiers} identifiers are removed.{held}"
    )
