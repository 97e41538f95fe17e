"""POST /feedback: one live row for each answer, rater and instrument, whatever way the answer is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

Client = Callable[..., TestClient]
Register = Callable[..., list[str]]
Rows = Callable[[str], list[sa.RowMapping]]
INLINE = {"session_id": "s", "agent_name": "rx", "user_query": "Dose of metformin?", "agent_response": "500 mg twice."}


def test_an_inline_judgement_is_stored_with_both_texts_and_an_interaction(client: Client, rows: Rows) -> None:
    answer = client("ada").post("feedback", json={**INLINE, "rating": 5, "comments": "Fine"})
    assert answer.status_code == 201
    (row,) = rows("rlhf_feedback")
    assert answer.headers["location"] == f"/api/v1/rlhf/feedback/{row['feedback_id']}"
    assert (row["user_query"], row["agent_response"], row["rating"], row["comments"]) == (
        INLINE["user_query"], INLINE["agent_response"], 5, "Fine",
    )  # fmt: skip
    assert (row["feedback_type"], row["instrument"], row["source"]) == ("positive", "stars", "api")
    assert row["interaction_id"] == rows("interactions")[0]["interaction_id"]


def test_every_instrument_of_a_request_lands_in_a_row_of_its_own(client: Client, rows: Rows) -> None:
    sent = {**INLINE, "rating": 2, "thumb": "down", "correction": "Start at 500 mg once daily.", "comments": "Too fast"}
    answer = client("ada").post("feedback", json=sent | {"harm_severity": 1, "reasons": ["unsafe_dose"]}).json()
    assert [item["instrument"] for item in answer["items"]] == ["stars", "thumbs", "correction"]
    assert answer["feedback_id"] == answer["items"][0]["feedback_id"]
    stars, thumbs, correction = rows("rlhf_feedback")
    assert (stars["rating"], stars["thumb"], stars["comments"], stars["harm_severity"]) == (2, None, "Too fast", 1)
    assert (thumbs["rating"], thumbs["thumb"], thumbs["comments"], thumbs["harm_severity"]) == (None, -1, None, None)
    assert correction["correction"] == sent["correction"]
    assert correction["feedback_type"] is None


@pytest.mark.parametrize(
    ("sent", "instrument", "feedback_type"),
    [
        ({"rating": 4}, "stars", "positive"),
        ({"rating": 3}, "stars", "neutral"),
        ({"rating": 1}, "stars", "negative"),
        ({"thumb": "up"}, "thumbs", "positive"),
        ({"thumb": "down"}, "thumbs", "negative"),
        ({"comments": "Hm"}, "comment", None),
        ({"correction": "Better"}, "correction", None),
    ],
)
def test_the_type_follows_from_the_instrument(
    client: Client, sent: dict[str, object], instrument: str, feedback_type: str | None
) -> None:
    answer = client("ada").post("feedback", json={**INLINE, **sent}).json()
    assert (answer["items"][0]["instrument"], answer["feedback_type"]) == (instrument, feedback_type)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "/rating"),
        ({"comments": "  "}, "/rating"),
        ({"rating": 0}, "/rating"),
        ({"rating": 99}, "/rating"),
        ({"rating": "5"}, "/rating"),
        ({"rating": True}, "/rating"),
        ({"thumb": "sideways"}, "/thumb"),
        ({"rating": 5, "thumb": "down"}, "/thumb"),
        ({"rating": 5, "feedback_type": "negative"}, "/feedback_type"),
        ({"comments": "x", "feedback_type": "positive"}, "/feedback_type"),
        ({"rating": 5, "harm_severity": 4}, "/harm_severity"),
        ({"rating": 5, "reasons": ["because"]}, "/reasons/0"),
        ({"rating": 5, "comments": "x" * 4001}, "/comments"),
        ({"rating": 5, "clinician_id": 7}, "/clinician_id"),
        ({"rating": 5, "processed": True}, "/processed"),
        ({"rating": 5, "session_id": "a\nb"}, "/session_id"),
    ],
)
def test_an_unusable_field_is_named(client: Client, rows: Rows, sent: dict[str, object], field: str) -> None:
    answer = client("ada").post("feedback", json={**INLINE, **sent})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in [error["pointer"] for error in answer.json()["errors"]]
    assert rows("rlhf_feedback") == []


def test_the_only_answer_of_a_session_needs_no_name(client: Client, register: Register) -> None:
    (interaction_id,) = register(client("bot", "service"), "A")
    ada = client("ada")
    for _ in range(2):  # the second time nothing is left unrated, and the same answer is meant
        answer = ada.post("feedback", json={"session_id": "s", "agent_name": "rx", "rating": 5})
        assert answer.json()["interaction_id"] == interaction_id
    assert answer.status_code == 200


def test_the_one_answer_left_unrated_is_meant(client: Client, register: Register) -> None:
    first, second = register(client("bot", "service"), "A", "B")
    ada = client("ada")
    ada.post("feedback", json={"interaction_id": first, "rating": 5})
    answer = ada.post("feedback", json={"session_id": "s", "agent_name": "rx", "rating": 2})
    assert (answer.status_code, answer.json()["interaction_id"]) == (201, second)


def test_several_fitting_answers_are_listed_and_none_is_guessed(client: Client, register: Register, rows: Rows) -> None:
    made = register(client("bot", "service"), "A", "B")
    answer = client("ada").post("feedback", json={"session_id": "s", "agent_name": "rx", "rating": 5})
    assert answer.status_code == 409
    assert answer.json()["interaction_ids"] == made[::-1]
    assert rows("rlhf_feedback") == []


def test_a_judgement_of_nothing_known_asks_for_the_texts(client: Client) -> None:
    answer = client("ada").post("feedback", json={"session_id": "s", "agent_name": "rx", "rating": 5})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/user_query", "/agent_response"]


def test_text_that_contradicts_the_named_interaction_is_refused(client: Client, register: Register) -> None:
    (interaction_id,) = register(client("bot", "service"), "A")
    ada = client("ada")
    sent = {"interaction_id": interaction_id, "rating": 5, "user_query": "Q", "agent_response": "another"}
    assert ada.post("feedback", json=sent).json()["errors"][0]["pointer"] == "/agent_response"
    sent = {"interaction_id": interaction_id, "rating": 5, "agent_name": "other"}
    assert ada.post("feedback", json=sent).json()["errors"][0]["pointer"] == "/agent_name"


def test_a_repeat_replaces_and_keeps_the_former_values(client: Client, rows: Rows) -> None:
    ada = client("ada")
    first = ada.post("feedback", json={**INLINE, "rating": 5, "comments": "Fine"}).json()
    again = ada.post("feedback", json={**INLINE, "rating": 2})
    assert (again.status_code, again.json()["items"][0]["status"]) == (200, "updated")
    assert again.json()["feedback_id"] == first["feedback_id"]
    (row,) = rows("rlhf_feedback")
    assert (row["rating"], row["feedback_type"], row["comments"], row["revision"]) == (2, "negative", "Fine", 2)
    (revision,) = rows("revisions")
    assert revision["before"]["rating"] == 5


def test_two_clinicians_judge_one_answer_independently(client: Client, register: Register, rows: Rows) -> None:
    (interaction_id,) = register(client("bot", "service"), "A")
    for name in ("ada", "bob"):
        assert client(name).post("feedback", json={"interaction_id": interaction_id, "rating": 4}).status_code == 201
    assert len({row["clinician_id"] for row in rows("rlhf_feedback")}) == 2


def test_a_judgement_carries_versions_arm_profile_and_consent(client: Client, rows: Rows) -> None:
    service = client("bot", "service")
    made = {"session_id": "s", "agent_name": "rx", "prompt": "Q", "response": "A", "experiment_id": "exp_1"}
    named = service.post("interactions", json=made | {"arm": "treatment", "model_digest": "sha256:1"}).json()
    ada = client("ada", specialty="cardiology")
    ada.post("consents", json={"scope": "internal_training"})
    ada.post("feedback", json={"interaction_id": named["interaction_id"], "rating": 4})
    (row,) = rows("rlhf_feedback")
    copied = ("experiment_id", "arm", "model_digest", "rater_specialty", "consent_scope")
    assert [row[name] for name in copied] == ["exp_1", "treatment", "sha256:1", "cardiology", "internal_training"]
    shown = ada.get(f"feedback/{row['feedback_id']}").json()
    assert not {"arm", "experiment_id", "model_digest"} & shown.keys(), "a rater must stay blind to the arm"


def test_a_withdrawn_judgement_leaves_room_for_a_new_one(client: Client, rows: Rows) -> None:
    ada = client("ada")
    first = ada.post("feedback", json={**INLINE, "rating": 5}).json()["feedback_id"]
    assert ada.delete(f"feedback/{first}").status_code == 204
    assert ada.delete(f"feedback/{first}").status_code == 204
    assert ada.patch(f"feedback/{first}", json={"rating": 1}).status_code == 409
    second = ada.post("feedback", json={**INLINE, "rating": 3})
    assert (second.status_code, second.json()["feedback_id"] != first) == (201, True)
    assert [item["feedback_id"] for item in ada.get("feedback").json()["items"]] == [second.json()["feedback_id"]]
    assert len(ada.get("feedback", params={"include_withdrawn": True}).json()["items"]) == 2


def test_an_edit_against_an_old_revision_is_refused(client: Client) -> None:
    ada = client("ada")
    name = ada.post("feedback", json={**INLINE, "rating": 5}).json()["feedback_id"]
    tag = ada.get(f"feedback/{name}").headers["etag"]
    edited = ada.patch(f"feedback/{name}", json={"rating": 3}, headers={"If-Match": tag})
    assert (edited.json()["feedback_type"], edited.headers["etag"]) == ("neutral", '"2"')
    assert ada.patch(f"feedback/{name}", json={"rating": 1}, headers={"If-Match": tag}).status_code == 412
    assert ada.patch(f"feedback/{name}", json={"thumb": "up"}).json()["errors"][0]["pointer"] == "/thumb"
    assert ada.patch(f"feedback/{name}", json={"rating": None}).status_code == 422
