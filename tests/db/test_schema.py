"""The seed document's schema holds after every migration, and the tables in code are the tables in the database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import preceptor.db.tables.curated
import preceptor.db.tables.lineage
import preceptor.db.tables.ops
import preceptor.db.tables.raw
import preceptor.db.tables.rollout
from preceptor.db.engine import VERSION_TABLE, migrate, normalize_url
from preceptor.db.tables import Table
from preceptor.errors import ConfigError, StorageError

SEED_COLUMNS = {
    "rlhf_feedback": {
        "id": "integer",
        "feedback_id": "character varying",
        "session_id": "character varying",
        "agent_name": "character varying",
        "user_query": "text",
        "agent_response": "text",
        "rating": "integer",
        "feedback_type": "character varying",
        "clinician_id": "integer",
        "comments": "text",
        "timestamp": "timestamp with time zone",
        "processed": "boolean",
    },
    "rlhf_preferences": {
        "id": "integer",
        "preference_id": "character varying",
        "prompt": "text",
        "response_a": "text",
        "response_b": "text",
        "preferred": "character",
        "clinician_id": "integer",
        "timestamp": "timestamp with time zone",
        "processed": "boolean",
    },
}


@pytest.mark.parametrize("table", SEED_COLUMNS)
def test_every_seed_column_keeps_its_name_and_type(engine: sa.Engine, table: str) -> None:
    statement = sa.text(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = :table"
    )
    with engine.connect() as connection:
        found = dict(connection.execute(statement, {"table": table}).all())
    assert {name: found.get(name) for name in SEED_COLUMNS[table]} == SEED_COLUMNS[table]


def test_plain_sql_written_against_the_seed_schema_still_works(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO users (id) VALUES (123)")
        connection.exec_driver_sql(
            "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, "
            "feedback_type, clinician_id, comments) VALUES ('fb_1', 's', 'a', 'q', 'r', 5, 'positive', 123, 'c')"
        )
        connection.exec_driver_sql(
            "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, clinician_id) "
            "VALUES ('p_1', 'q', 'x', 'y', 'a', 123)"
        )
        feedback = connection.exec_driver_sql("SELECT user_query, rating, processed FROM rlhf_feedback").one()
        preference = connection.exec_driver_sql("SELECT prompt, preferred, processed FROM rlhf_preferences").one()
        shown = connection.exec_driver_sql("SELECT kind, instrument, rating, outcome FROM judgements ORDER BY kind")
        assert tuple(feedback) == ("q", 5, False)
        assert tuple(preference) == ("q", "a", False)
        assert [tuple(row) for row in shown] == [
            ("feedback", "stars", 5, None),
            ("preference", "comparison", None, "a"),
        ]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating) "
        "VALUES ('f', 's', 'a', 'q', 'r', 6)",
        "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, thumb, "
        "instrument) VALUES ('f', 's', 'a', 'q', 'r', 5, 1, 'thumbs')",
        "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred) "
        "VALUES ('p', 'q', 'x', 'y', 'c')",
        "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, outcome) "
        "VALUES ('p', 'q', 'x', 'y', 'a', 'tie')",
        "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, clinician_id) "
        "VALUES ('f', 's', 'a', 'q', 'r', 99)",
    ],
)
def test_the_database_refuses_what_the_schema_forbids(engine: sa.Engine, statement: str) -> None:
    with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.filterwarnings("ignore:Can't validate argument:sqlalchemy.exc.SAWarning")
def test_the_tables_in_code_are_the_tables_in_the_database(engine: sa.Engine) -> None:
    def ours(_object: object, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
        return not (kind == "table" and reflected and str(name).startswith("procrastinate"))

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "include_object": ours, "compare_type": True}
        )
        assert compare_metadata(context, Table.metadata) == []


def test_migrating_again_changes_nothing_and_loads_nothing(engine: sa.Engine, database_url: str) -> None:
    program = (
        "import sys; from preceptor.db.engine import connect; from preceptor.settings import load_settings;"
        f"connect(load_settings(database_url={database_url!r})).dispose(); print('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


def test_the_revision_of_a_migration_begins_the_name_of_its_file() -> None:
    scripts = ScriptDirectory(str(Path(preceptor.db.tables.raw.__file__).parents[1] / "migrations"))
    names = {Path(script.path).name.partition("_")[0]: script.revision for script in scripts.walk_revisions()}
    assert all(name == revision for name, revision in names.items())
    assert scripts.get_heads() == [max(names)]


def test_a_schema_from_the_future_is_refused_in_one_sentence(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        now = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar_one()
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    try:
        with pytest.raises(StorageError, match="newer preceptor"):
            migrate(engine)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{now}'")


def test_a_database_made_by_hand_with_the_seed_schema_is_taken_over(engine: sa.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS by_hand")
        connection.exec_driver_sql("CREATE DATABASE by_hand")
    by_hand = sa.create_engine(engine.url.set(database="by_hand"))
    try:
        with by_hand.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE users (id INTEGER PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO users VALUES (7)")
            connection.exec_driver_sql(
                "CREATE TABLE rlhf_feedback (id SERIAL PRIMARY KEY, feedback_id VARCHAR UNIQUE NOT NULL, "
                "session_id VARCHAR NOT NULL, agent_name VARCHAR NOT NULL, user_query TEXT NOT NULL, "
                "agent_response TEXT NOT NULL, rating INTEGER CHECK (rating >= 1 AND rating <= 5), "
                "feedback_type VARCHAR, clinician_id INTEGER REFERENCES users(id), comments TEXT, "
                "timestamp TIMESTAMP DEFAULT NOW(), processed BOOLEAN DEFAULT FALSE)"
            )
            connection.exec_driver_sql(
                "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, "
                "clinician_id, timestamp) VALUES ('f', 's', 'a', 'q', 'r', 4, 7, '2025-01-17 12:00:00')"
            )
        migrate(by_hand)
        with by_hand.begin() as connection:
            connection.exec_driver_sql("INSERT INTO users (login) VALUES ('new')")
            ids = connection.exec_driver_sql("SELECT id FROM users ORDER BY id").scalars().all()
            stamp = connection.exec_driver_sql(
                "SELECT timestamp AT TIME ZONE 'UTC' FROM rlhf_feedback WHERE feedback_id = 'f'"
            ).scalar_one()
        assert list(ids) == [7, 8]
        assert str(stamp) == "2025-01-17 12:00:00"
    finally:
        by_hand.dispose()


def test_the_audit_log_cannot_be_rewritten(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO audit_log (action, target) VALUES ('read', 'fb_1')")
    with pytest.raises(sa.exc.DatabaseError, match="append only"), engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit_log")


@pytest.mark.parametrize("url", ["not an address", "sqlite:///x.db", "mysql://u:p@h/d"])
def test_an_address_of_something_else_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://user:password@host:port/name"):
        normalize_url(url)
