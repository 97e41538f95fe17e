"""Idempotency-Key at the chat: a repeat gets the first answer, and the model answers once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

Serving = Any


def ask(serving: Serving, key: str, *, login: str = "alice", **fields: Any) -> httpx.Response:
    body = {"model": "triage_agent", "messages": [{"role": "user", "content": "Zebulon coughs."}], "max_tokens": 8}
    with serving.client(login) as client:
        return client.post("/v1/chat/completions", json=body | fields, headers={"Idempotency-Key": key})


def count(engine: sa.Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def test_a_repeat_gets_the_first_answer_word_for_word(small_serving: Serving, engine: sa.Engine) -> None:
    first = ask(small_serving, "k1", n=2)
    again = ask(small_serving, "k1", n=2)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.headers["x-preceptor-interaction-id"] == first.headers["x-preceptor-interaction-id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert count(engine, "interactions") == 2
    assert ask(small_serving, "k1", login="bob", n=2).json()["id"] != first.json()["id"]
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT response FROM idempotency_keys ORDER BY id").scalars().first()
    assert [choice["message"]["content"] for choice in kept["choices"]] == [None, None]
    assert "Zebulon" not in str(kept)


def test_copies_that_come_together_are_answered_once(small_serving: Serving, engine: sa.Engine) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: ask(small_serving, "k2", max_tokens=60), range(12)))
    told = {answer.status_code for answer in answers}
    assert 200 in told
    assert told <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["type"] == "/problems/in-progress"
            assert int(answer.headers["retry-after"]) >= 1
    assert count(engine, "interactions") == 1


def test_a_request_that_failed_frees_its_key(small_serving: Serving, engine: sa.Engine) -> None:
    assert ask(small_serving, "k3", max_tokens=1024).status_code == 422  # the model's context is 256
    assert count(engine, "idempotency_keys") == 0
    assert ask(small_serving, "k3").status_code == 200


def test_an_abandoned_claim_is_taken_over(small_serving: Serving, engine: sa.Engine) -> None:
    first = ask(small_serving, "k4").json()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE idempotency_keys SET status_code = 0, response = '{}'")
    assert ask(small_serving, "k4").status_code == 409
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE idempotency_keys SET created_at = created_at - interval '11 minutes'")
    taken = ask(small_serving, "k4")
    assert taken.status_code == 200
    assert taken.json()["id"] != first["id"]
    assert ask(small_serving, "k4").json() == taken.json()


@pytest.mark.parametrize("fields", [{"max_tokens": 9}, {"stream": True}])
def test_a_key_is_for_one_request_and_not_for_streams(small_serving: Serving, fields: dict[str, Any]) -> None:
    assert ask(small_serving, "k5").status_code == 200
    assert ask(small_serving, "k5", **fields).status_code == 422
