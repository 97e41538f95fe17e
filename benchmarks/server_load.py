"""Concurrent clients in, requests a second and latencies of the feedback endpoint out, beside a bare INSERT.

    python benchmarks/server_load.py [--clients 8] [--seconds 8] [--turns 3] [--filled 0]

A real server process with its embedded PostgreSQL answers authenticated posts with idempotency keys. The peer, asked in
turns with it in the same run, is the least that could be done: a FastAPI endpoint of its own process that checks no
account and writes the same columns to a table of the same database with one INSERT.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from preceptor.db.engine import connect, session_scope
from preceptor.server import accounts
from preceptor.settings import load_settings

COLUMNS = (
    "feedback_id", "session_id", "agent_name", "user_query", "agent_response", "rating", "feedback_type",
    "clinician_id", "comments", "interaction_id", "instrument", "harm_severity", "reasons", "source", "review_status",
    "content_hash", "prompt_hash", "active_ms", "revision",
)  # fmt: skip
QUERY = "A 58-year-old with stage 3 kidney disease takes metformin. Which dose is right, and what should be checked? "
ANSWER = "Reduce the dose to at most 1000 mg a day, check eGFR every three months and stop below 30. " * 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=3, help="of each server, one after the other")
    parser.add_argument("--filled", type=int, default=0, help="judgements that are there before")
    parser.add_argument("--peer", nargs=2, metavar=("URL", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        serve_peer(options.peer[0], int(options.peer[1]))
        return
    with tempfile.TemporaryDirectory(prefix="preceptor-load-") as home:
        measure(Path(home), options)


def measure(home: Path, options: argparse.Namespace) -> None:
    engine = connect(load_settings(home=home, database_url=None))
    tokens = prepare(engine, options.clients, options.filled)
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    environment = os.environ | {"PRECEPTOR_HOME": str(home), "PRECEPTOR_DATABASE_URL": url}
    environment |= {"PRECEPTOR_RATE_LIMIT_PER_MINUTE": "1000000", "PRECEPTOR_LOG_LEVEL": "WARNING"}
    ours, theirs = free_port(), free_port()
    server = [sys.executable, "-m", "preceptor", "serve", "--port", str(ours)]
    peer = [sys.executable, __file__, "--peer", url, str(theirs)]
    found: dict[str, list[float]] = {"preceptor": [], "bare INSERT": []}
    rates: dict[str, list[float]] = {name: [] for name in found}
    with running(server, ours, environment), running(peer, theirs, environment):
        for turn in range(options.turns + 1):
            for name, port in (("preceptor", ours), ("bare INSERT", theirs)):
                seconds = options.seconds if turn else 1.0  # the first turn warms up
                taken = load(port, tokens, seconds=seconds, turn=turn)
                if turn:
                    found[name] += taken
                    rates[name].append(len(taken) / seconds)
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("SELECT count(*) FROM rlhf_feedback").scalar_one()
    engine.dispose()
    print(f"{options.clients} clients, {options.turns} turns of {options.seconds:g} s each, {stored} judgements stored")
    for name, taken in found.items():
        taken.sort()
        middle, high, top = (1000 * taken[int(len(taken) * share)] for share in (0.5, 0.95, 0.99))
        each = ", ".join(f"{rate:.0f}" for rate in rates[name])
        print(f"{name:12s} {sum(rates[name]) / options.turns:6.0f} requests/s ({each})  ", end="")
        print(f"p50 {middle:.1f} ms  p95 {high:.1f} ms  p99 {top:.1f} ms")
    print(f"ratio {sum(rates['preceptor']) / sum(rates['bare INSERT']):.2f} of the bare INSERT's requests a second")


def prepare(engine: sa.Engine, clients: int, filled: int) -> list[str]:
    """A token for each client, the peer's table, and as many judgements as are wanted."""
    with session_scope(engine) as session:
        users = [accounts.create_user(session, f"clinician-{number}").id for number in range(clients)]
        tokens = [accounts.issue_token(session, user, name="load")[1] for user in users]
        session.execute(sa.text("CREATE TABLE bare_feedback (LIKE rlhf_feedback INCLUDING ALL)"))
        session.execute(
            sa.text(
                "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating,"
                " clinician_id) SELECT 'old_' || n, 's', 'triage_agent', :query || n, :answer, 1 + n % 5, 1"
                " FROM generate_series(1, :filled) n"
            ),
            {"query": QUERY, "answer": ANSWER, "filled": filled},
        )
    return tokens


def load(port: int, tokens: list[str], *, seconds: float, turn: int) -> list[float]:
    """Post for so long from a thread for each token; how long each answer took, in seconds."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    def client(number: int, token: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        mine: list[float] = []
        while (started := time.perf_counter()) < until:
            key = f"{port}-{turn}-{number}-{len(mine)}"
            body = {"session_id": f"s-{number}", "agent_name": "triage_agent", "rating": 1 + len(mine) % 5}
            body |= {"user_query": QUERY + key, "agent_response": ANSWER, "comments": "As the guideline says."}
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "Idempotency-Key": key}
            connection.request("POST", "/api/v1/rlhf/feedback", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise SystemExit(f"a post was answered with {answer.status}")
            mine.append(time.perf_counter() - started)
        connection.close()
        taken.extend(mine)

    threads = [threading.Thread(target=client, args=item) for item in enumerate(tokens)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def serve_peer(url: str, port: int) -> None:
    """The bare endpoint: one pooled connection, one INSERT, one commit."""
    import uvicorn
    from fastapi import FastAPI
    from psycopg.types.json import Jsonb
    from psycopg_pool import ConnectionPool
    from pydantic import BaseModel

    class Feedback(BaseModel):
        session_id: str
        agent_name: str
        user_query: str
        agent_response: str
        rating: int
        comments: str

    pool = ConnectionPool(url, min_size=4, max_size=20)
    places = ", ".join(["%s"] * len(COLUMNS))
    statement = f"INSERT INTO bare_feedback ({', '.join(COLUMNS)}) VALUES ({places})"  # noqa: S608
    app = FastAPI(openapi_url=None)
    numbers = iter(range(10**9))

    def post(given: Feedback) -> dict[str, str]:
        number = f"bare_{next(numbers)}"
        seen = (given.session_id, given.agent_name, given.user_query, given.agent_response, given.rating)
        more = ("positive", 1, given.comments, number, "stars", None, Jsonb([]), "api", "new", number, number, 0, 1)
        with pool.connection() as connection:
            connection.execute(statement, (number, *seen, *more))
        return {"feedback_id": number}

    post.__annotations__ = {"given": Feedback, "return": dict[str, str]}
    app.post("/api/v1/rlhf/feedback", status_code=201)(post)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """A server process that answers, until the block ends."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit(f"a server ended with code {process.returncode} before it answered")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
