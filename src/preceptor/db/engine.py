"""Settings in, a SQLAlchemy engine on PostgreSQL out, with migrations and one transaction scope for doors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.embedded import embedded_home, start_embedded
from preceptor.errors import ConfigError, StorageError
from preceptor.settings import Settings

MINIMUM_SERVER_VERSION = 14
VERSION_TABLE = "preceptor_alembic_version"
_UNREADABLE = "The database address cannot be read. Write it as postgresql://user:password@host:port/name."
_MIGRATION_LOCK = 0x70726563
_MIGRATIONS = Path(__file__).parent / "migrations"


def normalize_url(url: str) -> sa.URL:
    """Turn `postgres://` or `postgresql://` as written into an address for the psycopg 3 driver.

    Raises:
        ConfigError: the text is not an address of a PostgreSQL database.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise ConfigError(_UNREADABLE) from None
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ConfigError(
            f"The database address names '{parsed.drivername}', but preceptor runs on PostgreSQL. "
            "Write it as postgresql://user:password@host:port/name."
        )
    return parsed.set(drivername="postgresql+psycopg")


def make_engine(settings: Settings) -> sa.Engine:
    """Connect to the configured PostgreSQL, or start the embedded one when none is configured or its address is.

    Raises:
        ConfigError: the address is malformed, unreachable, or of a server older than PostgreSQL 14.
    """
    url = normalize_url(settings.database_url or start_embedded(settings.home))
    home = embedded_home(url)
    if home is not None:
        start_embedded(home)  # its server stops with the last process that uses it: join it, or start it again
    engine = sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        hide_parameters=True,  # statement parameters are clinical text and must not reach a log
        connect_args={"connect_timeout": 5},
    )
    try:
        with engine.connect() as connection:
            version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    except UnicodeError:  # a host that is no name, as `...`
        engine.dispose()
        raise ConfigError(_UNREADABLE) from None
    except sa.exc.OperationalError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        shown = url.render_as_string(hide_password=True).replace("+psycopg", "")
        raise ConfigError(
            f"No PostgreSQL answers at {shown}: {reason}. Check the address, or unset DATABASE_URL "
            "to use the embedded database."
        ) from None
    if version < MINIMUM_SERVER_VERSION:
        engine.dispose()
        raise ConfigError(f"PostgreSQL {version} is too old; preceptor needs {MINIMUM_SERVER_VERSION} or newer.")
    return engine


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest schema; safe to call from several processes at once.

    Raises:
        StorageError: a migration failed, or the schema is newer than this program.
    """
    if _is_current(engine):
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(
            "The database has a schema that this preceptor does not know. Run the newer preceptor that made it."
        ) from error
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise StorageError(
            f"The database schema could not be brought up to date: {reason}. Nothing was changed."
        ) from error


def _is_current(engine: sa.Engine) -> bool:
    """Whether the newest migration is there: one query, without loading Alembic.

    Migrations are a line, and the names of their files begin with their revision.
    """
    newest = max(path.name.partition("_")[0] for path in _MIGRATIONS.glob("versions/[0-9]*.py"))
    try:
        with engine.connect() as connection:
            return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE))) == newest
    except sa.exc.ProgrammingError:  # an empty database has no such table
        return False


def connect(settings: Settings) -> sa.Engine:
    """Make the engine and migrate: what every door does first."""
    engine = make_engine(settings)
    migrate(engine)
    return engine


@contextmanager
def session_scope(engine: sa.Engine) -> Iterator[Session]:
    """One transaction: committed on exit, rolled back on any exception."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
