"""Every failure is a problem document that names the field, repeats nothing that was sent and shows nothing inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from preceptor.server.app import create_app
from preceptor.server.auth import public
from preceptor.settings import Settings

Client = Callable[..., TestClient]
Rows = Callable[[str], list[sa.RowMapping]]
CANARY = "Zebulon Quartermain 1944-07-09"
JSON = {"Content-Type": "application/json"}


def is_problem(answer: object, status: int, slug: str) -> bool:
    body = answer.json()  # type: ignore[attr-defined]
    return (
        answer.status_code == body["status"] == status  # type: ignore[attr-defined]
        and answer.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
        and body["type"] == f"/problems/{slug}"
    )


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"{", 400, "malformed-body"),
        (b'{"rating": \xff\xfe}', 400, "malformed-body"),
        (b'{"comments": "\xed\xa0\x80"}', 422, "invalid"),
        (b"[" * 100_000, 400, "malformed-body"),
        (b'{"rating": ' + b"9" * 5000 + b"}", 400, "malformed-body"),
        (b'{"comments": "\\ud800"}', 422, "invalid"),
        (b'{"comments": "a\\u0000b"}', 422, "invalid"),
        (b'{"rating": NaN}', 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"", 422, "invalid"),
        (b'{"comments": "' + b"x" * 1_000_000 + b'"}', 413, "too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_told_so(client: Client, content: bytes, status: int, slug: str) -> None:
    answer = client("ada").post("feedback", content=content, headers=JSON)
    assert is_problem(answer, status, slug), answer.text[:300]


@pytest.mark.parametrize(
    ("path", "sent", "wanted"),
    [("feedback", "text/plain", "application/json"), ("import", "application/json", "application/x-ndjson")],
)
def test_a_body_of_the_wrong_type_is_told_the_right_one(client: Client, path: str, sent: str, wanted: str) -> None:
    answer = client("ada", "admin").post(path, content=b'{"rating": 5}', headers={"Content-Type": sent})
    assert is_problem(answer, 422, "invalid")
    assert f"Content-Type: {wanted}" in answer.json()["errors"][0]["detail"]


def test_a_large_body_without_a_length_is_cut_off(client: Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    assert is_problem(client("ada").post("feedback", content=chunks(), headers=JSON), 413, "too-large")


@pytest.mark.parametrize("path", ["feedback", "preference"])
def test_fields_in_the_address_are_refused(client: Client, rows: Rows, path: str) -> None:
    sent = {"session_id": "s", "agent_name": "a", "rating": 5, "comments": CANARY}
    answer = client("ada").post(path, params=sent)
    assert is_problem(answer, 400, "use-json-body")
    assert CANARY not in answer.text
    assert rows("rlhf_feedback") == []


def test_nothing_that_was_sent_comes_back_in_a_problem_or_a_log(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ada, service = client("ada"), client("bot", "service")
    texts = {"session_id": "s", "agent_name": "rx", "user_query": CANARY, "agent_response": CANARY}
    answers = [
        ada.post("feedback", json={**texts, "rating": CANARY}),
        ada.post("feedback", json={**texts, "rating": 5, CANARY: CANARY}),
        ada.post("feedback", json={**texts, "reasons": [CANARY]}),
        ada.post("feedback", json={**texts, "feedback_type": CANARY}),
        ada.post("feedback", json={"interaction_id": CANARY, "rating": 5}),
        ada.post("feedback", json=[CANARY]),
        ada.post("feedback", content=f'{{"comments": "{CANARY}"'.encode(), headers=JSON),
        ada.post("preference", json={"prompt": CANARY, "response_a": CANARY, "response_b": CANARY, "preferred": "a"}),
        ada.post("preference", json={"prompt": CANARY, "preferred": CANARY}),
        ada.get(f"feedback/{CANARY}"),
        ada.get("feedback", params={"cursor": CANARY}),
        ada.get("feedback", params={"created_from": CANARY}),
        ada.get(f"{CANARY}"),
        ada.post("feedback", json={**texts, "rating": 5}, headers={"Idempotency-Key": CANARY}),
        service.post("interactions", json={**texts, "sampling": {CANARY: "\x00"}}),
        client("ml", "ml_engineer").post("import", content=f'{{"prompt": "{CANARY}", "rejected": "x"}}\n'.encode()),
    ]
    assert {answer.status_code for answer in answers} <= {400, 404, 422}
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Zebulon" not in answer.text, answer.text
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert len(ours) >= len(answers)
    assert "Zebulon" not in str(ours)


def test_unknown_addresses_methods_and_ids_are_problems_too(client: Client) -> None:
    ada = client("ada")
    assert is_problem(ada.get("nothing-here"), 404, "not-found")
    wrong = ada.put("feedback", json={})
    assert is_problem(wrong, 405, "method-not-allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "POST"} or wrong.headers["allow"] in {"GET", "POST"}
    assert is_problem(ada.get("feedback/none_0"), 404, "not-found")
    assert ada.get("feedback/%00").status_code in {404, 422}
    assert ada.get("feedback", params={"cursor": "OTk5OTk5OTk5OTk5OTk"}).status_code == 422


def test_problem_types_explain_themselves(client: Client) -> None:
    visitor = client()
    told = visitor.get("http://testserver" + visitor.get("me").json()["type"]).json()
    assert told == {"type": "/problems/sign-in-required", "status": 401, "title": "Send a bearer token, or sign in"}


def test_a_database_that_is_away_is_a_503_with_a_time_to_retry(settings: Settings) -> None:
    away = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 1})
    one = TestClient(create_app(settings, away), raise_server_exceptions=False)
    for method, path in (("GET", "/readyz"), ("GET", "/api/v1/rlhf/me"), ("POST", "/api/v1/rlhf/feedback")):
        answer = one.request(method, path, json={}, headers={"Authorization": "Bearer x"})
        assert is_problem(answer, 503, "unavailable"), answer.text
        assert int(answer.headers["retry-after"]) > 0
    assert one.get("/healthz").status_code == 200


def test_an_unforeseen_failure_shows_and_logs_nothing_of_its_inside(
    settings: Settings, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings, engine)

    @app.get("/broken", dependencies=[public()])
    def broken() -> None:
        raise ValueError(CANARY)

    answer = TestClient(app).get("/broken")
    assert is_problem(answer, 500, "internal")
    assert "Zebulon" not in answer.text + caplog.text
    assert "ValueError at" in caplog.text


def test_every_answer_carries_the_security_headers(client: Client) -> None:
    for answer in (client().get("http://testserver/healthz"), client("ada").get("nothing-here")):
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"


def test_the_access_log_holds_route_patterns_and_no_addresses(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="preceptor.access")
    client("ada").get(f"feedback/{CANARY}", params={"agent_name": CANARY})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "preceptor.access"]
    assert line.startswith("GET /feedback/{feedback_id} 404 ")


def test_the_api_answers_problems_inside_a_host_application_too(settings: Settings, engine: sa.Engine) -> None:
    from preceptor.server.api import router
    from preceptor.server.deps import install

    host = FastAPI()
    host.state.preceptor = install(settings, engine)
    host.include_router(router, prefix="/api/v1/rlhf")
    one = TestClient(host)
    assert is_problem(one.post("/api/v1/rlhf/feedback", content=b"{", headers=JSON), 400, "malformed-body")
    assert is_problem(one.post("/api/v1/rlhf/feedback", json={}), 401, "sign-in-required")
    big = json.dumps({"comments": "x" * 1_000_000})
    assert is_problem(one.post("/api/v1/rlhf/feedback", content=big, headers=JSON), 413, "too-large")
