"""Whole files over HTTP: an export that streams the seed document's records, an import that reports every line."""

from __future__ import annotations

import json
from collections.abc import Callable

import sqlalchemy as sa
from fastapi.testclient import TestClient

Client = Callable[..., TestClient]
Rows = Callable[[str], list[sa.RowMapping]]
NDJSON = {"Content-Type": "application/x-ndjson"}
PAIR = b'{"prompt": "P", "chosen": "A", "rejected": "B"}\n'
KEYS = [
    "feedback_id", "session_id", "agent_name", "user_query", "agent_response", "rating", "feedback_type",
    "clinician_id", "timestamp", "comments",
]  # fmt: skip


def rate(one: TestClient, *ratings: int) -> None:
    for index, rating in enumerate(ratings):
        inline = {"session_id": "s", "agent_name": "rx", "user_query": f"Q{index}", "agent_response": "A"}
        assert one.post("feedback", json=inline | {"rating": rating}).status_code == 201


def test_an_export_holds_exactly_the_seed_record_a_line(client: Client) -> None:
    ada = client("ada")
    rate(ada, 5, 1)
    ada.delete(f"feedback/{ada.get('feedback').json()['items'][0]['feedback_id']}")
    answer = client("eve", "curator").get("export/feedback")
    assert answer.headers["content-type"] == "application/x-ndjson"
    (line,) = answer.text.splitlines()
    record = json.loads(line)
    assert list(record) == KEYS
    assert (record["rating"], record["feedback_type"], record["timestamp"][-1]) == (5, "positive", "Z")


def test_an_export_can_be_filtered_and_told_in_full(client: Client) -> None:
    rate(client("ada"), 5)
    curator = client("eve", "curator")
    assert curator.get("export/feedback", params={"agent_name": "other"}).text == ""
    record = json.loads(curator.get("export/feedback", params={"agent_name": "rx", "detail": True}).text)
    assert (record["instrument"], record["consent_scope"], record["revision"]) == ("stars", None, 1)


def test_a_sent_file_is_reported_line_by_line_and_again_unchanged(client: Client, rows: Rows) -> None:
    engineer = client("ml", "ml_engineer")
    first = engineer.post("import", content=PAIR, headers=NDJSON).json()
    assert (first["kind"], first["created"], first["lines"][0]["line"]) == ("pair", 1, 1)
    assert engineer.post("import", content=PAIR, headers=NDJSON).json()["unchanged"] == 1
    assert len(rows("rlhf_preferences")) == 1


def test_a_bad_line_stops_a_sent_file_unless_it_may_be_skipped(client: Client, rows: Rows) -> None:
    engineer = client("ml", "ml_engineer")
    content = PAIR + b'{"prompt": "P2", "rejected": "B"}\n'
    refused = engineer.post("import", content=content, headers=NDJSON)
    assert refused.status_code == 422
    assert refused.json()["lines"][1] == {"line": 2, "status": "rejected", "id": None, "reason": "chosen is missing"}
    assert rows("rlhf_preferences") == []
    dry = engineer.post("import", params={"dry_run": True}, content=content, headers=NDJSON).json()
    assert (dry["created"], dry["rejected"], rows("rlhf_preferences")) == (1, 1, [])
    partly = engineer.post("import", params={"skip_rejected": True}, content=content, headers=NDJSON).json()
    assert (partly["created"], partly["rejected"], len(rows("rlhf_preferences"))) == (1, 1, 1)


def test_a_file_may_be_larger_than_other_bodies_and_an_empty_one_says_so(client: Client) -> None:
    engineer = client("ml", "ml_engineer")
    large = b"".join(
        json.dumps({"prompt": f"P{index}", "chosen": "A" * 60_000, "rejected": "B"}).encode() + b"\n"
        for index in range(20)
    )
    assert len(large) > 1_000_000
    assert engineer.post("import", content=large, headers=NDJSON).json()["created"] == 20
    empty = engineer.post("import", content=b"", headers=NDJSON)
    assert (empty.status_code, "is empty" in empty.json()["detail"]) == (422, True)


def test_a_long_list_is_paged_without_gaps_or_repeats(client: Client) -> None:
    ada = client("ada")
    rate(ada, *([3] * 7))
    seen, address = [], "feedback?limit=3"
    while address:
        answer = ada.get(address)
        seen += [item["feedback_id"] for item in answer.json()["items"]]
        rate(client(f"other{len(seen)}"), 1)  # rows that come in meanwhile do not move the pages
        link = answer.headers.get("link")
        assert (link is None) == (answer.json()["next"] is None)
        address = f"http://testserver{link.split('>')[0][1:]}" if link else ""
    assert len(seen) == len(set(seen)) == 7
