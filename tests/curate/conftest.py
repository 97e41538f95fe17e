"""Raw judgements for the tests of curation, and a way to run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.curate.config import CurateConfig
from preceptor.curate.run import run
from preceptor.settings import Settings
from preceptor.stage import StageContext, StageResult

PROMPT = "Ms. Wilhelmina Achterberg, MRN 5512098, has gout. What first?"
ANSWER = "Start naproxen 500 mg for Ms. Achterberg."
OTHER = "Call Dr. Oyelaran at 555-867-5309."


@pytest.fixture
def context(engine: sa.Engine, settings: Settings, store: ArtifactStore) -> StageContext:
    return StageContext(settings, engine, store)


@pytest.fixture
def curate(context: StageContext) -> Callable[..., StageResult]:
    def once(**config: Any) -> StageResult:
        return run(CurateConfig(**config), context)

    return once


@pytest.fixture
def sql(engine: sa.Engine) -> Callable[..., list[Any]]:
    """Run one statement as a person would in psql; returns its rows."""

    def execute(statement: str, **values: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return list(result.all()) if result.returns_rows else []

    return execute


@pytest.fixture
def add_feedback(sql: Callable[..., list[Any]]) -> Callable[..., None]:
    """Insert feedback by plain SQL with the seed document's columns, and any others that are named."""

    def add(name: str, **values: Any) -> None:
        row = {
            "feedback_id": name, "session_id": "s1", "agent_name": "agent", "user_query": PROMPT,
            "agent_response": ANSWER, "rating": 5, **values,
        }  # fmt: skip
        columns = ", ".join(row)
        sql(f"INSERT INTO rlhf_feedback ({columns}) VALUES ({', '.join(':' + c for c in row)})", **row)

    return add


@pytest.fixture
def add_preference(sql: Callable[..., list[Any]]) -> Callable[..., None]:
    def add(name: str, **values: Any) -> None:
        row = {
            "preference_id": name, "prompt": PROMPT, "response_a": ANSWER, "response_b": OTHER, "preferred": "a",
            **values,
        }  # fmt: skip
        columns = ", ".join(row)
        sql(f"INSERT INTO rlhf_preferences ({columns}) VALUES ({', '.join(':' + c for c in row)})", **row)

    return add
