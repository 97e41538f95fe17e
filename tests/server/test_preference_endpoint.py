"""POST /preference: ties and refusals make no preference, and the order of the two answers does not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

Client = Callable[..., TestClient]
Register = Callable[..., list[str]]
Rows = Callable[[str], list[sa.RowMapping]]
TEXTS = {"prompt": "First-line drug?", "response_a": "Metformin.", "response_b": "Insulin."}


@pytest.mark.parametrize(
    ("outcome", "preferred"), [("a", "a"), ("b", "b"), ("tie", None), ("both_bad", None), ("cannot_judge", None)]
)
def test_only_a_and_b_are_preferences(client: Client, rows: Rows, outcome: str, preferred: str | None) -> None:
    answer = client("ada").post("preference", json={**TEXTS, "preferred": outcome})
    assert (answer.status_code, answer.json()["outcome"]) == (201, outcome)
    (row,) = rows("rlhf_preferences")
    assert (row["outcome"], row["preferred"]) == (outcome, preferred)
    assert {name: row[name] for name in TEXTS} == TEXTS


def test_the_other_order_is_the_same_comparison(client: Client, rows: Rows) -> None:
    ada = client("ada")
    ada.post("preference", json={**TEXTS, "preferred": "a", "strength": 2, "harm_b": 3})
    swapped = {**TEXTS, "response_a": TEXTS["response_b"], "response_b": TEXTS["response_a"]}
    same = ada.post("preference", json={**swapped, "preferred": "b", "strength": 2, "harm_a": 3})
    assert (same.status_code, same.json()["status"]) == (200, "unchanged")
    changed = ada.post("preference", json={**swapped, "preferred": "a", "harm_a": 0})
    assert (changed.status_code, changed.json()["outcome"]) == (200, "b")
    (row,) = rows("rlhf_preferences")
    assert (row["preferred"], row["response_b"], row["harm_b"], row["strength"]) == ("b", "Insulin.", 0, 2)


def test_a_change_to_a_tie_drops_the_strength(client: Client, rows: Rows) -> None:
    ada = client("ada")
    ada.post("preference", json={**TEXTS, "preferred": "a", "strength": 2})
    ada.post("preference", json={**TEXTS, "preferred": "tie"})
    (row,) = rows("rlhf_preferences")
    assert (row["outcome"], row["preferred"], row["strength"], row["revision"]) == ("tie", None, None, 2)


def test_interactions_stand_for_their_texts(client: Client, register: Register, rows: Rows) -> None:
    a, b = register(client("bot", "service"), "A", "B")
    client("ada").post("preference", json={"interaction_a": a, "interaction_b": b, "preferred": "b"})
    (row,) = rows("rlhf_preferences")
    assert (row["prompt"], row["response_a"], row["response_b"], row["agent_name"]) == ("Q", "A", "B", "rx")


def test_answers_to_different_prompts_are_not_compared(client: Client, register: Register) -> None:
    service = client("bot", "service")
    (a,), (b,) = register(service, "A"), register(service, "B", prompt="Another")
    answer = client("ada").post("preference", json={"interaction_a": a, "interaction_b": b, "preferred": "b"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/interaction_b")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"preferred": "zzz"}, "/preferred"),
        ({"preferred": None}, "/preferred"),
        ({"preferred": "tie", "strength": 1}, "/strength"),
        ({"preferred": "a", "strength": 3}, "/strength"),
        ({"preferred": "a", "response_b": "Metformin. "}, "/response_b"),
        ({"preferred": "a", "response_b": None}, "/response_b"),
        ({"preferred": "a", "prompt": ""}, "/prompt"),
        ({"preferred": "a", "presented_first": "left"}, "/presented_first"),
    ],
)
def test_an_unusable_field_is_named(client: Client, rows: Rows, sent: dict[str, object], field: str) -> None:
    answer = client("ada").post("preference", json={**TEXTS, **sent})
    assert answer.status_code == 422
    assert field in [error["pointer"] for error in answer.json()["errors"]]
    assert rows("rlhf_preferences") == []


def test_an_edit_keeps_what_it_does_not_name(client: Client, rows: Rows) -> None:
    ada = client("ada")
    made = ada.post("preference", json={**TEXTS, "preferred": "a", "strength": 1, "comments": "Because"}).json()
    edited = ada.patch(f"preferences/{made['preference_id']}", json={"preferred": "both_bad"}).json()
    assert (edited["outcome"], edited["preferred"], edited["comments"]) == ("both_bad", None, "Because")
    assert ada.patch(f"preferences/{made['preference_id']}", json={"strength": 2}).status_code == 422
    assert ada.delete(f"preferences/{made['preference_id']}").status_code == 204
    assert rows("rlhf_preferences")[0]["withdrawn_at"] is not None
