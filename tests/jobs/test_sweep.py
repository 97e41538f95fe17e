"""What has served its time is removed, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.jobs.sweep import sweep
from preceptor.server import accounts
from preceptor.settings import Settings

DAY = 86_400


@pytest.fixture
def left(engine: sa.Engine) -> Callable[[str, str], set[str]]:
    def read(table: str, column: str) -> set[str]:
        with engine.connect() as connection:
            return set(connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalars())

    return read


def test_old_keys_and_ended_sessions_go_and_young_ones_stay(
    engine: sa.Engine, settings: Settings, left: Callable[[str, str], set[str]]
) -> None:
    with session_scope(engine) as session:
        ada = accounts.create_user(session, "ada").id
        for key, days in (("old", 8), ("young", 6)):
            session.execute(
                sa.text(
                    "INSERT INTO idempotency_keys"
                    " (user_id, key, route, request_hash, status_code, response, created_at)"
                    " VALUES (:user, :key, 'r', 'h', 201, '{}', now() - make_interval(days => :days))"
                ),
                {"user": ada, "key": key, "days": days},
            )
        for name, hours in (("ended", -1), ("open", 1)):
            session.execute(
                sa.text(
                    "INSERT INTO web_sessions (user_id, session_hash, csrf_token, expires_at)"
                    " VALUES (:user, :name, 't', now() + make_interval(hours => :hours))"
                ),
                {"user": ada, "name": name, "hours": hours},
            )
    assert sweep(settings, engine) == {"keys": 1, "sessions": 1, "runs": 0, "logs": 0}
    assert left("idempotency_keys", "key") == {"young"}
    assert left("web_sessions", "session_hash") == {"open"}
    assert sweep(settings.model_copy(update={"keep_keys_days": 5}), engine)["keys"] == 1


def test_only_ended_runs_without_round_and_artifact_go(
    engine: sa.Engine, settings: Settings, left: Callable[[str, str], set[str]]
) -> None:
    with session_scope(engine) as session:
        session.execute(sa.text("INSERT INTO rounds (round_id, trigger_key) VALUES ('round-1', 'manual:1')"))
        for run_id, state, days, round_id, artifact_id in (
            ("run-old", "succeeded", 91, None, None),
            ("run-failed", "failed", 91, None, None),
            ("run-young", "succeeded", 89, None, None),
            ("run-going", "running", 91, None, None),
            ("run-of-round", "succeeded", 91, "round-1", None),
            ("run-with-artifact", "succeeded", 91, None, "dataset-1"),
        ):
            session.execute(
                sa.text(
                    "INSERT INTO runs (run_id, stage, config, state, ended_at, round_id, artifact_id)"
                    " VALUES (:run_id, 'monitor', '{}', :state, now() - make_interval(days => :days),"
                    " :round, :artifact)"
                ),
                {"run_id": run_id, "state": state, "days": days, "round": round_id, "artifact": artifact_id},
            )
    assert sweep(settings, engine)["runs"] == 2
    assert left("runs", "run_id") == {"run-young", "run-going", "run-of-round", "run-with-artifact"}


def test_old_logs_go_and_other_files_stay(engine: sa.Engine, settings: Settings) -> None:
    settings.logs_dir.mkdir(parents=True)
    for name, days in (("run-0123456789ab.log", 91), ("run-ba9876543210.log", 89), ("notes.txt", 400)):
        path = settings.logs_dir / name
        path.write_text("a line")
        os.utime(path, (time.time() - days * DAY,) * 2)
    assert sweep(settings, engine)["logs"] == 1
    assert {path.name for path in settings.logs_dir.iterdir()} == {"run-ba9876543210.log", "notes.txt"}
