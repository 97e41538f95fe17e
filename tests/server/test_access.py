"""Deny by default: every route has a rule, every role gets what its rule says, everyone sees only their own."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from preceptor.server.accounts import ROLES
from preceptor.server.app import API_PREFIX, access_rules, create_app
from preceptor.settings import Settings

Client = Callable[..., TestClient]
Register = Callable[..., list[str]]
INLINE = {"session_id": "s", "agent_name": "rx", "user_query": "Q", "agent_response": "A", "rating": 5}
PUBLIC = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/problems/{slug}"),
}


def test_every_role_meets_its_rule_on_every_route_of_the_api(app: FastAPI, client: Client) -> None:
    """Built from the routes themselves, so that a new route takes part without being listed here."""
    clients = {role: client(f"a-{role}", role) for role in ROLES}
    visitor = client()
    tried = 0
    for method, path, rule in access_rules(app):
        if not path.startswith(API_PREFIX):
            continue
        assert rule is not None, f"{method} {path} has no rule"
        assert rule.roles, f"{method} {path} is public, which no part of the API is"
        address = re.sub(r"\{kind\}", "feedback", path)
        address = re.sub(r"\{token_id\}", "1", re.sub(r"\{[a-z]+_id\}", "none_0", address))
        assert visitor.request(method, f"http://testserver{address}", json={}).status_code == 401, f"{method} {path}"
        for role, one in clients.items():
            status = one.request(method, f"http://testserver{address}", json={}).status_code
            assert (status == 403) == (role not in rule.roles), f"{role} got {status} on {method} {path}"
            tried += 1
    assert tried > 200


def test_only_probes_and_the_way_in_are_public(app: FastAPI) -> None:
    public = {(method, path) for method, path, rule in access_rules(app) if rule is not None and rule.roles is None}
    pages = {(method, path) for method, path in public if path in {"/", "/login"} or path.startswith("/static")}
    assert public - pages == PUBLIC


def test_a_route_without_a_rule_does_not_start(
    settings: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from preceptor.server import health

    monkeypatch.setattr(health.router, "routes", [*health.router.routes])
    health.router.add_api_route("/open", lambda: {})
    with pytest.raises(RuntimeError, match="GET /open"):
        create_app(settings, engine)


def test_a_clinician_sees_and_changes_only_their_own(client: Client) -> None:
    ada, bob, curator = client("ada"), client("bob"), client("eve", "curator")
    made = ada.post("feedback", json=INLINE).json()["feedback_id"]
    compared = {"prompt": "P", "response_a": "A", "response_b": "B", "preferred": "a"}
    preference = ada.post("preference", json=compared).json()["preference_id"]
    for path in (f"feedback/{made}", f"preferences/{preference}"):
        assert ada.get(path).status_code == 200
        assert curator.get(path).status_code == 200
        assert curator.patch(path, json={"comments": "x"}).status_code == 403
        for answer in (bob.get(path), bob.patch(path, json={"comments": "x"}), bob.delete(path)):
            assert answer.status_code == 404
    assert bob.get("feedback").json()["items"] == bob.get("preferences").json()["items"] == []
    assert len(curator.get("feedback").json()["items"]) == 1
    assert curator.delete(f"feedback/{made}").status_code == 204


def test_another_clinicians_session_cannot_be_read_by_rating_it(client: Client) -> None:
    ada, bob = client("ada"), client("bob")
    named = ada.post("feedback", json=INLINE).json()["interaction_id"]
    assert bob.post("feedback", json={"interaction_id": named, "rating": 1}).status_code == 404
    assert bob.post("feedback", json={"session_id": "s", "agent_name": "rx", "rating": 1}).status_code == 422
    assert bob.get(f"interactions/{named}").status_code == 404
    assert ada.get(f"interactions/{named}").json()["prompt"] == "Q"


def test_an_ml_engineer_counts_but_does_not_read(client: Client) -> None:
    made = client("ada").post("feedback", json={**INLINE, "comments": "c", "correction": "d"}).json()["feedback_id"]
    engineer = client("ml", "ml_engineer")
    record = engineer.get(f"feedback/{made}").json()
    assert record["rating"] == 5
    texts = ("user_query", "agent_response", "comments", "correction")
    for shown in [record, *engineer.get("feedback").json()["items"]]:
        assert [shown[name] for name in texts] == [None] * 4
    assert engineer.get("export/feedback").status_code == 403


def test_reads_exports_withdrawals_and_reviews_leave_a_trail(client: Client) -> None:
    ada, curator = client("ada"), client("eve", "curator")
    made = ada.post("feedback", json=INLINE).json()["feedback_id"]
    ada.get(f"feedback/{made}")
    curator.post(f"feedback/{made}/review", json={"review_status": "rejected"})
    assert len(curator.get("export/feedback").text.splitlines()) == 1
    ada.delete(f"feedback/{made}")
    events = client("aud", "auditor").get("audit", params={"limit": 500}).json()["items"]
    seen = {(event["action"], event["target"]) for event in events}
    assert seen >= {
        ("text.read", made),
        ("feedback.review", made),
        ("feedback.withdraw", made),
        ("export.start", "feedback"),
        ("export.end", "feedback"),
    }
    assert next(event["detail"] for event in events if event["action"] == "export.end") == {"rows": 1}


def test_a_revoked_token_and_a_closed_account_stop_at_once(client: Client, engine: sa.Engine) -> None:
    ada = client("ada")
    token = ada.get("tokens").json()["items"][0]["token_id"]
    assert client("bob").delete(f"tokens/{token}").status_code == 404
    assert ada.delete(f"tokens/{token}").status_code == 204
    assert ada.get("me").status_code == 401
    carol = client("carol")
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET is_active = false WHERE login = 'carol'"))
    assert carol.get("me").status_code == 401
