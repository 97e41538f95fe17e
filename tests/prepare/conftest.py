"""Judgements by plain SQL for the tests of preparing a dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.settings import Settings
from preceptor.stage import StageContext


@pytest.fixture
def context(engine: sa.Engine, settings: Settings, store: ArtifactStore) -> StageContext:
    return StageContext(settings, engine, store)


@pytest.fixture
def sql(engine: sa.Engine) -> Callable[..., list[Any]]:
    """Run one statement as a person would in psql; returns its rows."""

    def execute(statement: str, **values: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return list(result.all()) if result.returns_rows else []

    return execute


@pytest.fixture
def fill(sql: Callable[..., list[Any]]) -> Callable[..., None]:
    """Insert two clinicians' comparisons on some prompts, with identifiers in them."""

    def insert(prompts: int = 8, clinicians: int = 2) -> None:
        sql("INSERT INTO users (role) SELECT 'clinician' FROM generate_series(1, :n)", n=clinicians)
        sql(
            "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, clinician_id)"
            " SELECT 'pref_' || p || '_' || c, 'Question ' || p || ' about Wilhelmina Achterberg, MRN 5512098?',"
            " 'Advice ' || p, 'Call 555-867-5309 for ' || p, CASE WHEN (p + c) % 3 = 0 THEN 'b' ELSE 'a' END, c"
            " FROM generate_series(1, :p) p, generate_series(1, :n) c",
            p=prompts,
            n=clinicians,
        )

    return insert
