"""Settings in, what has served its time gone: idempotency keys, browser sessions, logs, and runs that made nothing."""

from __future__ import annotations

import logging
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.db.tables.ops import IdempotencyKey, WebSession
from preceptor.runs import ENDED
from preceptor.settings import Settings

logger = logging.getLogger(__name__)


def sweep(settings: Settings, engine: sa.Engine) -> Counter[str]:
    """Remove what nobody can ask for any more; several workers may do so at once. Returns how many of each kind.

    Rounds with their runs stay, and so does every run that made an artifact: they are its lineage.
    """
    keys = sa.delete(IdempotencyKey).where(_older(IdempotencyKey.created_at, days=settings.keep_keys_days))
    sessions = sa.delete(WebSession).where(WebSession.expires_at < sa.func.now())
    runs = sa.delete(Run).where(
        Run.round_id.is_(None),
        Run.artifact_id.is_(None),
        Run.state.in_(ENDED),
        _older(Run.ended_at, days=settings.keep_runs_days),
    )
    swept: Counter[str] = Counter()
    for name, statement in (("keys", keys), ("sessions", sessions), ("runs", runs)):
        with session_scope(engine) as session:
            swept[name] = session.execute(statement).rowcount  # type: ignore[attr-defined]
    swept["logs"] = _sweep_logs(settings.logs_dir, seconds=settings.keep_runs_days * 86_400.0)
    if swept.total():
        logger.info("swept %s", ", ".join(f"{count} {name}" for name, count in swept.items()))
    return swept


def _older(moment: sa.orm.attributes.InstrumentedAttribute[object], *, days: int) -> sa.ColumnElement[bool]:
    return moment < sa.func.now() - timedelta(days=days)


def _sweep_logs(folder: Path, *, seconds: float) -> int:
    """Logs of runs that nothing was written to for so long."""
    oldest = time.time() - seconds
    old = [path for path in folder.glob("run-*.log") if path.stat().st_mtime < oldest]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)
