"""What an account can do for itself, and the queue over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from fastapi.testclient import TestClient

Client = Callable[..., TestClient]
Register = Callable[..., list[str]]
Rows = Callable[[str], list[sa.RowMapping]]


def test_the_latest_consent_event_counts_and_none_means_no(client: Client) -> None:
    ada = client("ada")
    assert ada.get("consents").json() == {"scope": None, "policy_version": None, "granted": False, "at": None}
    assert ada.post("consents", json={"scope": "internal_training", "policy_version": "2"}).status_code == 201
    assert ada.get("consents").json()["scope"] == "internal_training"
    ada.post("consents/withdraw")
    state = ada.get("consents").json()
    assert (state["granted"], state["scope"], state["policy_version"]) == (False, None, "2")


def test_contributions_count_what_is_live(client: Client, rows: Rows) -> None:
    ada = client("ada")
    inline = {"session_id": "s", "agent_name": "rx", "user_query": "Q", "agent_response": "A"}
    made = ada.post("feedback", json=inline | {"rating": 4, "correction": "B"}).json()
    ada.post("preference", json={"prompt": "P", "response_a": "A", "response_b": "B", "preferred": "tie"})
    ada.delete(f"feedback/{made['items'][1]['feedback_id']}")
    assert ada.get("me/contributions").json() == {
        "judgements": {"comparison": 1, "stars": 1},
        "withdrawn": 1,
        "datasets": [],
    }


def test_a_new_token_works_at_once(client: Client) -> None:
    ada = client("ada")
    secret = ada.post("tokens", json={"name": "laptop", "days": 1}).json()["token"]
    assert client().get("me", headers={"Authorization": f"Bearer {secret}"}).json()["login"] == "ada"
    assert [token["name"] for token in ada.get("tokens").json()["items"]] == ["test", "laptop"]


def test_a_card_shows_two_answers_and_nothing_about_where_they_come_from(client: Client, register: Register) -> None:
    service, ada = client("bot", "service"), client("ada")
    a, b = register(service, "A", "B")
    items = {"items": [{"kind": "compare", "interaction_a": a, "interaction_b": b}]}
    assert service.post("queue/items", json=items).json()["items"][0]["status"] == "created"
    card = ada.post("queue/next", json={}).json()
    assert card.keys() == {
        "assignment_id", "item_id", "kind", "agent_name", "lease_until", "prompt", "left", "right",
    }  # fmt: skip
    assert {card["left"], card["right"]} == {"A", "B"}
    address = f"queue/assignments/{card['assignment_id']}"
    done = ada.post(f"{address}/submit", json={"choice": "left", "strength": 2}).json()
    assert (done["state"], len(done["result_ids"])) == ("done", 1)
    stored = ada.get(f"preferences/{done['result_ids'][0]}").json()
    assert stored[f"response_{stored['preferred']}"] == card["left"]
    assert ada.post(f"{address}/undo").json()["state"] == "leased"
    assert ada.post(f"{address}/skip").json()["state"] == "skipped"
    assert ada.post("queue/next", json={}).status_code == 204
    assert ada.get("queue/progress").json() == {"done": 0, "skipped": 1, "remaining": 0}


def test_a_bad_item_of_a_batch_is_named_and_nothing_is_queued(client: Client, register: Register, rows: Rows) -> None:
    service = client("bot", "service")
    a, b = register(service, "A", "B")
    items = [{"kind": "rate", "interaction_a": a}, {"kind": "compare", "interaction_a": b}]
    answer = service.post("queue/items", json={"items": items})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/items/1/interaction_b")
    assert rows("queue_items") == []
