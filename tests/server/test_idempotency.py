"""A request and its copies make one row and one answer, also when they arrive together."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

Client = Callable[..., TestClient]
Rows = Callable[[str], list[sa.RowMapping]]
INLINE = {"session_id": "s", "agent_name": "rx", "user_query": "Q", "agent_response": "A", "rating": 5}
TEXTS = {"prompt": "P", "response_a": "A", "response_b": "B", "preferred": "a"}
COPIES = 50
BOTH_KINDS = pytest.mark.parametrize(
    ("path", "body", "table"), [("feedback", INLINE, "rlhf_feedback"), ("preference", TEXTS, "rlhf_preferences")]
)


@pytest.fixture
def server(app: FastAPI) -> Iterator[str]:
    """The application behind a real socket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}/api/v1/rlhf"
    running.should_exit = True
    thread.join(10)


def send_copies(address: str, token: str, path: str, body: dict[str, Any], **headers: str) -> list[httpx.Response]:
    headers |= {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=COPIES)
    with httpx.Client(headers=headers, timeout=60, limits=limits) as one, ThreadPoolExecutor(COPIES) as pool:
        return list(pool.map(lambda _: one.post(f"{address}/{path}", json=body), range(COPIES)))


@pytest.mark.parametrize(
    ("path", "body", "table"), [("feedback", INLINE, "rlhf_feedback"), ("preference", TEXTS, "rlhf_preferences")]
)
def test_fifty_parallel_copies_with_a_key_get_one_answer(
    server: str, token_of: Callable[..., str], rows: Rows, path: str, body: dict[str, Any], table: str
) -> None:
    answers = send_copies(server, token_of("ada"), path, body, **{"Idempotency-Key": "01J"})
    assert {answer.status_code for answer in answers} == {201}
    first = answers[0]
    assert all(answer.json() == first.json() for answer in answers)
    assert {answer.headers["location"] for answer in answers} == {first.headers["location"]}
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": COPIES - 1}
    assert len(rows(table)) == 1


@pytest.mark.parametrize(
    ("path", "body", "table"), [("feedback", INLINE, "rlhf_feedback"), ("preference", TEXTS, "rlhf_preferences")]
)
def test_fifty_parallel_copies_without_a_key_make_one_row(
    server: str, token_of: Callable[..., str], rows: Rows, path: str, body: dict[str, Any], table: str
) -> None:
    answers = send_copies(server, token_of("ada"), path, body)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: COPIES - 1}
    assert len(rows(table)) == 1
    assert len(rows("interactions")) == (1 if path == "feedback" else 0)
    assert rows(table)[0]["revision"] == 1


def test_a_key_with_another_body_is_refused(client: Client, rows: Rows) -> None:
    ada, key = client("ada"), {"Idempotency-Key": "k"}
    assert ada.post("feedback", json=INLINE, headers=key).status_code == 201
    answer = ada.post("feedback", json=INLINE | {"rating": 1}, headers=key)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/key-reused")
    assert rows("rlhf_feedback")[0]["rating"] == 5


def test_a_key_belongs_to_its_account(client: Client, rows: Rows) -> None:
    for name in ("ada", "bob"):
        answer = client(name).post("feedback", json=INLINE, headers={"Idempotency-Key": "k"})
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
    assert len(rows("rlhf_feedback")) == 2


def test_a_failed_request_does_not_use_its_key_up(client: Client) -> None:
    ada, key = client("ada"), {"Idempotency-Key": "k"}
    assert ada.post("feedback", json=INLINE | {"interaction_id": "int_0"}, headers=key).status_code == 404
    assert ada.post("feedback", json=INLINE, headers=key).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
def test_a_malformed_key_is_named(client: Client, key: str) -> None:
    answer = client("ada").post("feedback", json=INLINE, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "#header/Idempotency-Key")


def test_what_is_kept_for_a_replay_holds_no_text_and_no_secret(client: Client, rows: Rows) -> None:
    ada = client("ada")
    marked = INLINE | {
        "user_query": "CANARY1",
        "agent_response": "CANARY2",
        "comments": "CANARY3",
        "correction": "CANARY4",
    }
    ada.post("feedback", json=marked, headers={"Idempotency-Key": "k"})
    first = ada.post("tokens", json={"name": "x"}, headers={"Idempotency-Key": "t"}).json()
    again = ada.post("tokens", json={"name": "x"}, headers={"Idempotency-Key": "t"}).json()
    assert first["token"].startswith("pct_")
    assert again == first | {"token": None}
    kept = str(rows("idempotency_keys"))
    assert "CANARY" not in kept
    assert first["token"] not in kept


def test_an_external_id_is_stored_once_and_never_for_another_text(client: Client, rows: Rows) -> None:
    service = client("bot", "service")
    made = {"session_id": "s", "agent_name": "rx", "prompt": "Q", "response": "A", "external_id": "chat-1"}
    first, again = (service.post("interactions", json=made) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["interaction_id"] == again.json()["interaction_id"]
    assert service.post("interactions", json=made | {"response": "B"}).status_code == 409
    assert len(rows("interactions")) == 1
