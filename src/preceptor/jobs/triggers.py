"""Curated judgements in, queued rounds out: by hand, or once for each threshold of new eligible samples.

A sample is one judgement that a round could learn from: cleared by curation (which asks for consent), neither
withdrawn nor rejected in review since, of a clinician who has not taken consent back, more than a bare comment, and
from a simulated clinician only where the settings allow it. Samples are counted from the high water mark of the
agent's last round that did not fail, so a failed round leaves its samples for the next.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Round
from preceptor.db.tables.ops import Alert
from preceptor.jobs.queue import defer_round
from preceptor.jobs.rounds import newest_sample
from preceptor.pipeline import RoundConfig, check_round
from preceptor.settings import Settings

logger = logging.getLogger(__name__)

MOST_FAILURES = 3  # rounds that fail in a row before a person must look
_RETRY_AFTER_MINUTES = 10
_TRIGGER_LOCK = 0x74726967

_SAMPLES = """
WITH consent AS (
    SELECT DISTINCT ON (clinician_id) clinician_id, granted AND scope = 'internal_training' AS given
      FROM consents ORDER BY clinician_id, id DESC
), mark AS (
    SELECT agent_name, max(high_water) AS high_water FROM rounds WHERE state <> 'failed' GROUP BY agent_name
), sample AS (
    SELECT c.agent_name, c.rater, c.curated_at, COALESCE(c.judged_at, c.curated_at) AS judged_at
      FROM curated_records c
      JOIN judgements j ON j.kind = c.kind AND j.source_id = c.source_id
      LEFT JOIN consent k ON k.clinician_id = j.clinician_id
     WHERE c.status = 'clear' AND j.withdrawn_at IS NULL AND COALESCE(k.given, true)
       AND j.review_status IS DISTINCT FROM 'rejected'
       AND c.instrument <> 'comment' AND c.outcome IS DISTINCT FROM 'cannot_judge'
       AND (:simulated OR NOT c.is_simulated)
), fresh AS (
    SELECT s.*, m.high_water FROM sample s
      LEFT JOIN LATERAL (
        SELECT max(mark.high_water) AS high_water FROM mark
         WHERE mark.agent_name IS NULL OR mark.agent_name = s.agent_name
      ) m ON true
), by_rater AS (
    SELECT agent_name, count(*) AS eligible, min(high_water) AS high_water,
           count(*) FILTER (WHERE high_water IS NULL OR curated_at > high_water) AS new,
           count(*) FILTER (WHERE judged_at > now() - interval '7 days') AS last_week
      FROM fresh GROUP BY agent_name, rater
)
SELECT agent_name, sum(eligible)::int AS eligible, sum(new)::int AS new, min(high_water) AS high_water,
       sum(last_week)::int AS last_week, count(*)::int AS raters, max(eligible) / sum(eligible) AS largest_share
  FROM by_rater GROUP BY agent_name
"""

_WAITING = """
SELECT j.agent_name, count(*)::int AS waiting FROM judgements j
 WHERE j.withdrawn_at IS NULL AND j.instrument <> 'comment' AND (:simulated OR NOT j.is_simulated)
   AND NOT EXISTS (SELECT 1 FROM curated_records c WHERE c.kind = j.kind AND c.source_id = j.source_id)
 GROUP BY j.agent_name
"""


@dataclass(frozen=True)
class RetrainStatus:
    """How far one agent is from its next round. `held` is why no round starts though enough is there."""

    agent_name: str | None
    eligible: int
    new: int
    waiting: int  # judgements not curated yet
    threshold: int
    high_water: datetime | None
    raters: int
    largest_share: float  # of the samples, by the busiest rater
    last_round: str | None
    last_state: str | None
    failures: int
    samples_per_day: float
    days_left: float | None
    held: str | None
    trigger_key: str


def enqueue_round(
    session: Session,
    config: RoundConfig,
    *,
    settings: Settings,
    trigger_key: str | None = None,
    package: str = "preceptor",
) -> tuple[str, bool]:
    """Store a round and queue its job in the caller's transaction.

    Returns:
        The round's id, and whether it is new: a `trigger_key` that was used before names the round it started.

    Raises:
        ConfigError: an override would be refused by its stage.
    """
    check_round(config, settings, package=package)
    round_id = f"round-{secrets.token_hex(6)}"
    row = {
        "round_id": round_id,
        "agent_name": config.agent_name,
        "trigger_key": trigger_key or f"manual:{round_id}",
        "config": config.model_dump(mode="json"),
        "high_water": newest_sample(session, config.agent_name),
    }
    added = insert(Round).values(row).on_conflict_do_nothing(index_elements=["trigger_key"]).returning(Round.round_id)
    if session.scalar(added) is None:
        existing = sa.select(Round.round_id).where(Round.trigger_key == row["trigger_key"])
        return session.scalars(existing).one(), False
    defer_round(session, round_id)
    return round_id, True


def retrain_status(engine: sa.Engine, settings: Settings) -> list[RetrainStatus]:
    """The numbers behind the trigger, an agent a row, in the order of their names."""
    with session_scope(engine) as session:
        return _status(session, settings)


def check_threshold(engine: sa.Engine, settings: Settings, *, package: str = "preceptor") -> list[str]:
    """Queue a round for each agent with enough new samples, once however many processes ask; returns their ids."""
    started: list[str] = []
    with session_scope(engine) as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(_TRIGGER_LOCK)))
        for status in _status(session, settings):
            if status.new < settings.retrain_threshold:
                continue
            if status.held is not None:
                if status.failures >= MOST_FAILURES:
                    _raise_alert(session, status)
                continue
            config = RoundConfig(agent_name=status.agent_name, include_simulated=settings.retrain_on_simulated)
            round_id, is_new = enqueue_round(
                session, config, settings=settings, trigger_key=status.trigger_key, package=package
            )
            if is_new:
                logger.info("%d new samples of %s start round %s", status.new, status.agent_name, round_id)
                started.append(round_id)
    return started


def _status(session: Session, settings: Settings) -> list[RetrainStatus]:
    simulated = {"simulated": settings.retrain_on_simulated}
    counted = {row.agent_name: row for row in session.execute(sa.text(_SAMPLES), simulated)}
    waiting = {row.agent_name: row.waiting for row in session.execute(sa.text(_WAITING), simulated)}
    rounds = list(session.scalars(sa.select(Round).order_by(Round.id.desc())))
    found = []
    for agent in sorted(counted.keys() | waiting.keys(), key=lambda name: name or ""):
        own = [r for r in rounds if r.agent_name is None or r.agent_name == agent]
        failures = next((n for n, r in enumerate(own) if r.state != "failed"), len(own))
        last_good = own[failures].id if failures < len(own) else 0
        row, threshold = counted.get(agent), settings.retrain_threshold
        new = row.new if row else 0
        per_day = round(row.last_week / 7, 2) if row else 0.0
        days = 0.0 if new >= threshold else (round((threshold - new) / per_day, 1) if per_day else None)
        found.append(
            RetrainStatus(
                agent_name=agent,
                eligible=row.eligible if row else 0,
                new=new,
                waiting=waiting.get(agent, 0),
                threshold=threshold,
                high_water=row.high_water if row else None,
                raters=row.raters if row else 0,
                largest_share=float(row.largest_share) if row else 0.0,
                last_round=own[0].round_id if own else None,
                last_state=own[0].state if own else None,
                failures=failures,
                samples_per_day=per_day,
                days_left=days,
                held=_held(session, own, failures),
                trigger_key=f"threshold:{agent}:{last_good}:{failures}",
            )
        )
    return found


def _held(session: Session, rounds: list[Round], failures: int) -> str | None:
    active = next((r for r in rounds if r.state in ("queued", "running")), None)
    if active is not None:
        return f"{active.round_id} is {active.state}; samples that arrive now count for the round after it."
    if failures >= MOST_FAILURES:
        return f"The last {failures} rounds failed. See their errors, then start one by hand."
    if failures and rounds[0].ended_at is not None:
        wait = sa.func.make_interval(0, 0, 0, 0, 0, _RETRY_AFTER_MINUTES * failures)
        if session.scalar(sa.select(sa.func.now() < sa.literal(rounds[0].ended_at) + wait)):
            return f"The last round failed; the next try is {_RETRY_AFTER_MINUTES * failures} minutes after it."
    return None


def _raise_alert(session: Session, status: RetrainStatus) -> None:
    row = {
        "key": f"retrain:{status.agent_name}",
        "severity": "critical",
        "message": f"Rounds of {status.agent_name} failed {status.failures} times in a row; retraining is held.",
    }
    session.execute(insert(Alert).values(row).on_conflict_do_nothing())
