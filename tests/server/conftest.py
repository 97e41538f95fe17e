"""A whole application on the test database, accounts of every role, and clients that act for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient

from preceptor.db.engine import session_scope
from preceptor.server import accounts
from preceptor.server.app import create_app
from preceptor.settings import load_settings

BASE = "/api/v1/rlhf"


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real algorithm with the least memory, or a sign-in would take a tenth of a second."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(accounts, "_hasher", lambda: hasher)
    accounts._decoy_hash.cache_clear()


@pytest.fixture(scope="session")
def shared_app(migrated_engine: sa.Engine, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Building the application takes most of a second, so tests share one; its database is emptied for each."""
    home: Path = tmp_path_factory.mktemp("server")
    url = migrated_engine.url.render_as_string(hide_password=False)
    return create_app(load_settings(home=home, database_url=url), migrated_engine)


@pytest.fixture
def app(shared_app: FastAPI, engine: sa.Engine) -> FastAPI:
    return shared_app


@pytest.fixture
def token_of(engine: sa.Engine) -> Callable[..., str]:
    """Make an account and give a bearer token for it."""

    def make(login: str, role: str = "clinician", **more: str) -> str:
        with session_scope(engine) as session:
            user = accounts.create_user(session, login, role=role, **more)  # type: ignore[arg-type]
            return accounts.issue_token(session, user.id, name="test")[1]

    return make


@pytest.fixture
def client(app: FastAPI, token_of: Callable[..., str]) -> Iterator[Callable[..., TestClient]]:
    """A client signed in as a new account: `client("ada")`, `client("bot", "service")`; no name is a visitor."""
    opened = ExitStack()

    def make(login: str | None = None, role: str = "clinician", **more: str) -> TestClient:
        headers = {"Authorization": f"Bearer {token_of(login, role, **more)}"} if login else {}
        return opened.enter_context(TestClient(app, base_url=f"http://testserver{BASE}", headers=headers))

    with opened:
        yield make


@pytest.fixture
def rows(engine: sa.Engine) -> Callable[[str], list[sa.RowMapping]]:
    """Everything in a table, oldest first."""

    def read(table: str) -> list[sa.RowMapping]:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings())

    return read


@pytest.fixture
def register() -> Callable[..., list[str]]:
    """Register answers to one prompt and give their interaction ids."""

    def make(service: TestClient, *responses: str, session_id: str = "s", prompt: str = "Q") -> list[str]:
        named = {"session_id": session_id, "agent_name": "rx", "prompt": prompt}
        sent = {"interactions": [named | {"response": text} for text in responses]}
        return [item["interaction_id"] for item in service.post("interactions/batch", json=sent).json()["items"]]

    return make
