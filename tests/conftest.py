"""A real PostgreSQL for every test: embedded, migrated once, emptied before each test that asks for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.settings import Settings, load_settings

_KEPT = {"preceptor_alembic_version"}


@pytest.fixture(scope="session")
def database_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="preceptor-test-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_engine(database_home: Path) -> Iterator[sa.Engine]:
    from preceptor.db.engine import connect

    engine = connect(load_settings(home=database_home, database_url=None))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated_engine: sa.Engine) -> sa.Engine:
    """The shared engine with every table empty."""
    with migrated_engine.begin() as connection:
        names = [name for name in sa.inspect(connection).get_table_names() if name not in _KEPT]
        connection.exec_driver_sql(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE")
    return migrated_engine


@pytest.fixture
def database_url(engine: sa.Engine) -> str:
    """The address of the test database, as a person would write it."""
    return engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg", "postgresql")


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with a fresh home folder on the test database."""
    return load_settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.artifacts_dir)
