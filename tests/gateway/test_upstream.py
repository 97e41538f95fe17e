from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from preceptor.db.engine import session_scope
from preceptor.gateway.backends import Piece, Sampling
from preceptor.gateway.upstream import upstream_source
from preceptor.release.document import Served
from preceptor.server import accounts
from preceptor.server.app import create_app
from preceptor.server.errors import PROBLEMS, Problem
from preceptor.settings import Settings, load_settings

SAMPLING = Sampling(n=1, max_tokens=8, temperature=0.5, top_p=1.0, seed=3, stop=("END",))


UNREADABLE = {
    "nonsense": b"data: {]\n\n",
    "nested": b'data: {"choices": ' + b"[" * 100_000 + b"\n\n",
    "infinite": b'data: {"choices": [{"index": Infinity}]}\n\n',
    "not a stream": b'{"choices": [{"message": {"content": "whole"}}]}',
}


class Upstream(BaseHTTPRequestHandler):
    """A small OpenAI-compatible server; the model's name says how it behaves."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body | {"authorization": self.headers.get("Authorization"), "path": self.path})
        behavior = body["model"]
        if behavior == "slow":
            time.sleep(1.5)
        if behavior == "failing":
            self.send_response(500)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if behavior in UNREADABLE:
            self.wfile.write(UNREADABLE[behavior])
            return
        if behavior == "odd":  # what no database stores, more than was asked for, and answers that nobody asked for
            for index, text in ((0, "Rest\x00 \ud83d "), (-1, "a stray"), (7, "a stray"), (0, "x" * 70_000)):
                event = {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        for text in ("Rest ", "and ", "drink. E", "ND more"):
            event = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        if behavior != "broken off":
            event = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def upstream_settings() -> Settings:
    return load_settings(upstream_api_key="sesame")


def answer(address: str, behavior: str, settings: Settings) -> list[Piece]:
    served = Served(release_id="r", version=0, model=behavior, digest="d", upstream=address)
    source = upstream_source(served, settings, timeout=httpx.Timeout(0.5))

    async def collect() -> list[Piece]:
        return [piece async for piece in source.stream("What helps?", SAMPLING)]

    return asyncio.run(collect())


def test_the_question_and_its_sampling_reach_the_upstream_and_its_words_come_back(
    address: str, upstream_settings: Settings
) -> None:
    pieces = answer(address, "good", upstream_settings)
    assert "".join(piece.text for piece in pieces) == "Rest and drink."
    assert pieces[-1].finish == "length"
    sent = Upstream.seen[-1]
    assert sent["path"] == "/v1/chat/completions"
    assert sent["authorization"] == "Bearer sesame"
    assert sent["messages"][-1] == {"role": "user", "content": "What helps?"}
    assert (sent["temperature"], sent["seed"], sent["stop"]) == (0.5, 3, ["END"])


@pytest.mark.parametrize(
    ("behavior", "slug", "status"),
    [
        ("failing", "upstream-failed", 502),
        *((name, "upstream-failed", 502) for name in UNREADABLE),
        ("broken off", "upstream-failed", 502),
        ("slow", "upstream-timeout", 504),
    ],
)
def test_each_failure_of_the_upstream_has_its_problem(
    address: str, upstream_settings: Settings, behavior: str, slug: str, status: int
) -> None:
    with pytest.raises(Problem) as caught:
        answer(address, behavior, upstream_settings)
    assert caught.value.slug == slug
    assert PROBLEMS[slug][0] == status


def test_an_upstream_that_is_not_there_is_a_problem_not_a_crash(upstream_settings: Settings) -> None:
    with pytest.raises(Problem) as caught:
        answer("http://127.0.0.1:9/v1", "good", upstream_settings)
    assert caught.value.slug == "upstream-failed"


def test_an_address_that_is_none_is_a_problem_too(upstream_settings: Settings) -> None:
    with pytest.raises(Problem) as caught:
        answer("http://[::1/v1", "good", upstream_settings)
    assert caught.value.slug == "upstream-failed"


@pytest.mark.parametrize(
    ("behavior", "status"), [("good", 200), ("odd", 200), ("failing", 502), ("nonsense", 502), ("broken off", 502)]
)
def test_what_an_upstream_says_is_stored_as_it_was_shown_and_a_failure_stores_nothing(
    settings: Settings, engine: sa.Engine, address: str, behavior: str, status: int
) -> None:
    with session_scope(engine) as session:
        user = accounts.create_user(session, "alice")
        token = accounts.issue_token(session, user.id, name="test")[1]
    app = create_app(settings.model_copy(update={"upstream_url": address, "policy_model": behavior}), engine)
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    body = {"model": "triage_agent", "messages": [{"role": "user", "content": "What helps?"}], "seed": 1}
    told = client.post("/v1/chat/completions", json=body)
    assert told.status_code == status, told.text
    with engine.connect() as connection:
        stored = connection.execute(
            sa.text("SELECT response, model_digest, prompt_version, sampling FROM interactions")
        )
        rows = stored.all()
    if status != 200:
        assert told.headers["content-type"] == "application/problem+json"
        assert rows == []
        return
    shown = told.json()["choices"][0]["message"]["content"]
    assert [(row.response, row.model_digest) for row in rows] == [(shown, told.json()["system_fingerprint"])]
    assert (rows[0].sampling["seed"], rows[0].prompt_version) == (1, told.json()["preceptor"]["prompt_version"])
    assert "\x00" not in shown
    assert "stray" not in shown
    assert len(shown) <= 64_000
