"""The seed document's endpoints at their address, and an OpenAPI description that the server keeps to under fuzzing."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import schemathesis
import schemathesis.specs.openapi.checks as conformance
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error

from preceptor.db.engine import session_scope
from preceptor.server import accounts
from preceptor.server.app import create_app
from preceptor.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SEED_FIELDS = {
    "/api/v1/rlhf/feedback": {"session_id", "agent_name", "rating", "comments"},
    "/api/v1/rlhf/preference": {"prompt", "response_a", "response_b", "preferred"},
}
CHECKS = [
    not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]


@pytest.fixture
def token(engine: sa.Engine) -> str:
    with session_scope(engine) as session:
        user = accounts.create_user(session, "root", role="admin")
        return accounts.issue_token(session, user.id, name="contract")[1]


@pytest.fixture
def app(settings: Settings, engine: sa.Engine) -> FastAPI:
    return create_app(settings, engine)


@pytest.fixture
def seed_module() -> ModuleType:
    """`backend/app/api/v1/routes_rlhf.py`, loaded from its file as a host application would from its own package."""
    path = ROOT / "backend" / "app" / "api" / "v1" / "routes_rlhf.py"
    spec = importlib.util.spec_from_file_location("routes_rlhf", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_seed_router_mounts_in_any_application_and_stores(
    seed_module: ModuleType, settings: Settings, engine: sa.Engine, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRECEPTOR_DATABASE_URL", str(settings.database_url))
    monkeypatch.setenv("PRECEPTOR_HOME", str(settings.home))
    host = FastAPI()
    host.include_router(seed_module.router, prefix="/api/v1/rlhf")
    one = TestClient(host, headers={"Authorization": f"Bearer {token}"})
    inline = {"session_id": "s", "agent_name": "a", "rating": 5, "user_query": "Q", "agent_response": "A"}
    answer = one.post("/api/v1/rlhf/feedback", json=inline)
    assert answer.status_code == 201, answer.text
    assert one.get(answer.headers["location"]).json()["rating"] == 5
    compared = {"prompt": "P", "response_a": "A", "response_b": "B", "preferred": "b"}
    assert one.post("/api/v1/rlhf/preference", json=compared).status_code == 201
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT prompt, preferred, clinician_id FROM rlhf_preferences").one()
    assert tuple(found) == ("P", "b", 1)
    host.state.preceptor.engine.dispose()


def test_a_host_may_bring_its_own_users(seed_module: ModuleType, settings: Settings, engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        user = accounts.create_user(session, "from-host")
    host = FastAPI()
    host.state.preceptor = seed_module.install(settings, engine)
    host.include_router(seed_module.router, prefix="/rate")
    known = seed_module.Principal(user_id=user.id, login="from-host", role="clinician")
    host.dependency_overrides[seed_module.current_principal] = lambda: known
    inline = {"session_id": "s", "agent_name": "a", "rating": 5, "user_query": "Q", "agent_response": "A"}
    answer = TestClient(host).post("/rate/feedback", json=inline)
    assert (answer.status_code, answer.headers["location"].startswith("/rate/feedback/fb_")) == (201, True)


def test_the_seed_fields_are_in_the_body_and_never_in_the_address(app: FastAPI) -> None:
    described = app.openapi()
    for path, fields in SEED_FIELDS.items():
        operation = described["paths"][path]["post"]
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        schema = described["components"]["schemas"][reference.rsplit("/", 1)[1]]
        assert fields <= schema["properties"].keys()
        assert schema["additionalProperties"] is False
        assert {item["in"] for item in operation["parameters"]} == {"header"}


def test_every_operation_of_the_api_describes_its_problems(app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        if not path.startswith("/api/"):
            continue
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], f"{method} {path} {status}"
            assert {"401", "403", "422", "503"} <= operation["responses"].keys(), f"{method} {path}"
            assert operation.get("description"), f"{method} {path} has no description"


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


def operations(app: FastAPI) -> Iterator[Any]:
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    for found in described.include(path_regex=r"^/(api/v1/rlhf|healthz|readyz|problems)").get_all_operations():
        yield found.ok()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["usable", "unusable"])
def test_fuzzing_finds_no_server_error_and_no_undescribed_answer(
    app: FastAPI, token: str, mode: GenerationMode
) -> None:
    asked = 0
    for operation in operations(app):

        @hypothesis_settings(
            max_examples=4,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.validate_response(case.call(headers={"Authorization": f"Bearer {token}"}), checks=CHECKS)

        takes_input = bool(operation.body or operation.query)
        if mode is GenerationMode.NEGATIVE and not takes_input:
            continue  # nothing to send wrongly
        try:
            fuzz()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE
    assert asked > (100 if mode is GenerationMode.POSITIVE else 60)
