"""An account that judges faster than people do is asked to wait; services and the demo's panel are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from preceptor.collect.consent import grant_consent
from preceptor.db.engine import session_scope
from preceptor.server import accounts, auth
from preceptor.server.app import create_app
from preceptor.settings import Settings

BASE = "/api/v1/rlhf"
Ask = Callable[[str], TestClient]


@pytest.fixture
def judge(settings: Settings, engine: sa.Engine) -> Ask:
    """Clients of an application that lets an account judge three times a minute."""
    app = create_app(settings.model_copy(update={"rate_limit_per_minute": 3}), engine)
    tokens: dict[str, str] = {}
    with session_scope(engine) as session:
        for login, role in (("alice", "clinician"), ("bob", "clinician"), ("robot", "service")):
            user = accounts.create_user(session, login, role=role)
            tokens[login] = accounts.issue_token(session, user.id, name="test")[1]
    return lambda login: TestClient(app, headers={"Authorization": f"Bearer {tokens[login]}"})


def rate(client: TestClient, number: int, **headers: str) -> tuple[int, dict[str, str]]:
    body = {
        "session_id": "s",
        "agent_name": "triage_agent",
        "user_query": f"Question {number}?",
        "agent_response": "See a nurse.",
        "rating": 4,
    }
    answer = client.post(f"{BASE}/feedback", json=body, headers=headers)
    if answer.status_code == 429:
        assert answer.json()["type"] == "/problems/too-many"
        assert "3 judgements in the last minute" in answer.json()["detail"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    return answer.status_code, dict(answer.headers)


def compare(client: TestClient) -> int:
    body = {"prompt": "Which?", "response_a": "one", "response_b": "two", "preferred": "a"}
    return client.post(f"{BASE}/preference", json=body).status_code


def test_an_account_that_judges_too_fast_waits_a_minute(judge: Ask, engine: sa.Engine) -> None:
    alice = judge("alice")
    assert [rate(alice, number)[0] for number in range(2)] == [201, 201]
    assert compare(alice) == 201
    assert rate(alice, 3)[0] == 429
    assert compare(alice) == 429
    assert rate(judge("bob"), 1)[0] == 201
    with session_scope(engine) as session:
        session.execute(sa.text("UPDATE rlhf_feedback SET timestamp = timestamp - interval '61 seconds'"))
    assert rate(alice, 3)[0] == 201


def test_the_queue_and_its_page_say_how_long_to_wait(judge: Ask, engine: sa.Engine) -> None:
    alice, robot = judge("alice"), judge("robot")
    answers = {"session_id": "s", "agent_name": "rx", "prompt": "Q"}
    batch = {"interactions": [answers | {"response": f"answer {number}"} for number in range(2)]}
    made = robot.post(f"{BASE}/interactions/batch", json=batch).json()["items"]
    items = {"items": [{"kind": "rate", "interaction_a": item["interaction_id"]} for item in made]}
    assert robot.post(f"{BASE}/queue/items", json=items).status_code == 201
    assert [rate(alice, number)[0] for number in range(3)] == [201] * 3
    card = alice.post(f"{BASE}/queue/next", json={}).json()["assignment_id"]
    refused = alice.post(f"{BASE}/queue/assignments/{card}/submit", json={"rating": 4})
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many")
    with session_scope(engine) as session:
        user = accounts.find_user(session, "alice")
        grant_consent(session, user.id, scope="internal_training")
        cookie, form_token = accounts.open_session(session, user)
    browser = TestClient(alice.app, cookies={auth.COOKIE: cookie}, headers={"Accept": "text/html"})
    typed = {"comments": "check the dose first", "reasons": "unsafe_dose"}
    page = browser.post("/rate", data={"assignment_id": card, "rating": "4", "csrf_token": form_token, **typed})
    assert page.status_code == 429
    assert ">check the dose first</textarea>" in page.text  # nothing is typed twice
    assert "3 judgements in the last minute" in page.text
    assert card in page.text  # the same card waits
    for answer in (refused, page):
        assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_replay_is_answered_also_when_the_account_must_wait(judge: Ask) -> None:
    alice = judge("alice")
    key = {"Idempotency-Key": "first"}
    assert rate(alice, 0, **key)[0] == 201
    assert [rate(alice, number)[0] for number in (1, 2, 3)] == [201, 201, 429]
    status, headers = rate(alice, 0, **key)
    assert (status, headers["idempotency-replayed"]) == (201, "true")


def test_services_and_simulated_clinicians_are_not_limited(judge: Ask, engine: sa.Engine) -> None:
    assert [rate(judge("robot"), number)[0] for number in range(5)] == [201] * 5
    with session_scope(engine) as session:
        session.execute(sa.text("UPDATE users SET is_simulated = true WHERE login = 'alice'"))
    assert [rate(judge("alice"), number)[0] for number in range(5)] == [201] * 5
