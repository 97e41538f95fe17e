"""Rounds in, jobs of the Procrastinate queue out: deferred in the caller's transaction, reaped when a worker dies."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope

logger = logging.getLogger(__name__)

QUEUE = "rounds"
RUN_ROUND = "preceptor.run_round"
_REAPER_LOCK = 0x72656170

_DEFER = """
SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(
    CAST(:queue AS varchar), CAST(:task AS varchar), 0, CAST(:lock AS text), NULL,
    jsonb_build_object('round_id', CAST(:round_id AS text)), NULL
)::procrastinate_job_to_defer_v1]))
"""

# Jobs of workers whose heartbeat is old, or that are gone. The job is closed and a new one takes its place, so that
# a worker that was only paused cannot end the job of the one that replaced it.
_CLOSE_STALLED = """
SELECT job.args->>'round_id' AS round_id, procrastinate_finish_job_v1(job.id, 'failed', false)
  FROM procrastinate_jobs job
  LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
 WHERE job.status = 'doing' AND job.task_name = :task
   AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => :stalled))
"""

_WITHOUT_JOB = """
SELECT r.round_id FROM rounds r
 WHERE r.state IN ('queued', 'running') AND r.created_at < now() - make_interval(secs => :stalled)
   AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs j WHERE j.task_name = :task
                    AND j.status IN ('todo', 'doing') AND j.args->>'round_id' = r.round_id)
   AND NOT EXISTS (SELECT 1 FROM runs u WHERE u.round_id = r.round_id AND u.state = 'running'
                    AND u.heartbeat_at > now() - make_interval(secs => :stalled))
"""

_CLOSE_SILENT_RUNS = """
UPDATE runs SET state = 'failed', attempt = attempt + 1, ended_at = now(),
       error = 'The process that ran this ended without a word (killed, or the machine went down). Start it again.'
 WHERE round_id IS NULL AND state IN ('queued', 'running')
   AND COALESCE(heartbeat_at, created_at) < now() - make_interval(secs => :stalled)
"""


def defer_round(session: Session, round_id: str) -> int:
    """Queue the job that runs a round; it exists when, and only when, the caller's transaction commits."""
    values = {"queue": QUEUE, "task": RUN_ROUND, "lock": f"round:{round_id}", "round_id": round_id}
    return int(session.execute(sa.text(_DEFER), values).scalar_one())


def reap(engine: sa.Engine, *, stalled: float) -> list[str]:
    """Queue again the rounds of workers that gave no heartbeat for `stalled` seconds; returns their ids.

    Runs of their own (no round) whose process vanished are recorded as failed.
    """
    with session_scope(engine) as session:
        if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_REAPER_LOCK))):
            return []
        values = {"task": RUN_ROUND, "stalled": stalled}
        rounds = [row.round_id for row in session.execute(sa.text(_CLOSE_STALLED), values)]
        rounds += [row.round_id for row in session.execute(sa.text(_WITHOUT_JOB), values)]
        rounds = list(dict.fromkeys(rounds))
        for round_id in rounds:
            defer_round(session, round_id)
        session.execute(sa.text(_CLOSE_SILENT_RUNS), {"stalled": max(4 * stalled, 60.0)})
    for round_id in rounds:
        logger.warning("round %s lost its worker and is queued again", round_id)
    return rounds
