"""The seed document's command: a database filled by plain SQL in, one JSONL file with its manifest out."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

BACKEND = Path(__file__).parents[2] / "backend"
SEED_TABLES = """
CREATE TABLE users (id SERIAL PRIMARY KEY, name TEXT);
CREATE TABLE rlhf_feedback (id SERIAL PRIMARY KEY, feedback_id VARCHAR UNIQUE NOT NULL, session_id VARCHAR NOT NULL,
  agent_name VARCHAR NOT NULL, user_query TEXT NOT NULL, agent_response TEXT NOT NULL,
  rating INTEGER CHECK (rating >= 1 AND rating <= 5), feedback_type VARCHAR, clinician_id INTEGER REFERENCES users(id),
  comments TEXT, timestamp TIMESTAMP DEFAULT NOW(), processed BOOLEAN DEFAULT FALSE);
CREATE TABLE rlhf_preferences (id SERIAL PRIMARY KEY, preference_id VARCHAR UNIQUE NOT NULL, prompt TEXT NOT NULL,
  response_a TEXT NOT NULL, response_b TEXT NOT NULL, preferred CHAR(1) CHECK (preferred IN ('a','b')),
  clinician_id INTEGER REFERENCES users(id), timestamp TIMESTAMP DEFAULT NOW(), processed BOOLEAN DEFAULT FALSE);
INSERT INTO users (name) VALUES ('one'), ('two');
INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, feedback_type,
  clinician_id) SELECT 'fb_' || p || r, 's', 'agent', 'Case ' || p || ' of Wilhelmina Achterberg?', 'Answer ' || r, r,
  'neutral', 1 FROM generate_series(1, 5) p, generate_series(1, 5, 4) r;
INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, clinician_id)
  SELECT 'pref_' || p, 'Dose ' || p || ' for MRN 5512098?', 'Low ' || p, 'High ' || p, 'b', 2
  FROM generate_series(1, 5) p;
"""

Command = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[[list[str]], int]


@pytest.fixture
def seed_database(database_url: str, engine: sa.Engine) -> Iterator[str]:
    """A database made by hand with exactly the seed document's tables."""
    name = "made_by_hand"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = sa.make_url(database_url).set(database=name)
    made = sa.create_engine(url.set(drivername="postgresql+psycopg"))
    with made.begin() as connection:
        for statement in SEED_TABLES.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    made.dispose()
    yield url.render_as_string(hide_password=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    def call(*words: str, script: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        start = (
            [sys.executable, "app/rlhf/prepare_dataset.py"]
            if script
            else [sys.executable, "-m", "app.rlhf.prepare_dataset"]
        )
        keep = {name: value for name, value in os.environ.items() if not name.endswith(("DATABASE_URL", "FEEDBACK_DB"))}
        return subprocess.run(
            [*start, *words], cwd=BACKEND, capture_output=True, text=True, check=False,
            env={**keep, "PRECEPTOR_HOME": str(tmp_path / "home"), **environment},
        )  # fmt: skip

    return call


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    """The command's main function, in a clean environment."""
    for name in ("FEEDBACK_DB", "DATABASE_URL", "PRECEPTOR_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRECEPTOR_HOME", str(tmp_path / "home"))
    spec = importlib.util.spec_from_file_location("prepare_dataset", BACKEND / "app" / "rlhf" / "prepare_dataset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Main = module.main
    return found


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_database_made_by_hand_becomes_a_dataset(seed_database: str, command: Command, tmp_path: Path) -> None:
    output = tmp_path / "data" / "preferences.jsonl"
    done = command("--feedback-db", seed_database, "--output", str(output))
    assert done.returncode == 0, done.stderr
    rows = read(output)
    assert len(rows) == 10
    assert all(list(row) == ["prompt", "chosen", "rejected", "metadata"] for row in rows)
    assert {row["chosen"].split()[0] for row in rows} == {"Answer", "High"}
    everything = "".join(path.read_text() for path in output.parent.iterdir()) + done.stdout + done.stderr
    assert not [word for word in ("Wilhelmina", "Achterberg", "5512098") if word in everything]
    manifest = json.loads((output.parent / "preferences.jsonl.manifest.json").read_text())
    assert manifest["files"][output.name]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert {source["source_id"] for source in manifest["sources"]} >= {"pref_1", "fb_11", "fb_15"}
    assert len(read(output.parent / "preferences.prompts.jsonl")) == 10
    assert manifest["files"]["preferences.ties.jsonl"]["rows"] == 0
    assert read(output.parent / "preferences.ties.jsonl") == []
    processed = sa.create_engine(sa.make_url(seed_database).set(drivername="postgresql+psycopg"))
    with processed.connect() as connection:
        assert connection.exec_driver_sql("SELECT bool_and(processed) FROM rlhf_preferences").scalar() is True
    processed.dispose()

    again = tmp_path / "again.jsonl"
    done = command("--feedback_db", seed_database, f"--output={again}", script=True)
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == output.read_bytes()


def test_the_address_may_come_from_the_environment(
    seed_database: str, main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDBACK_DB", seed_database)
    assert main(["--output", str(tmp_path / "out.jsonl")]) == 0
    assert len(read(tmp_path / "out.jsonl")) == 10


def test_a_feedback_file_works_without_a_database(main: Main, tmp_path: Path) -> None:
    source = tmp_path / "pairs.jsonl"
    pairs = [{"prompt": f"Q{n} for Dr. Abernathy", "chosen": "yes", "rejected": "no"} for n in range(4)]
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert main(["--feedback-file", str(source), "--output", str(tmp_path / "out.jsonl")]) == 0
    assert {row["prompt"] for row in read(tmp_path / "out.jsonl")} == {f"Q{n} for [NAME_1]" for n in range(4)}


def test_ties_are_exported_beside_the_pairs_and_do_not_outlive_their_judgements(main: Main, tmp_path: Path) -> None:
    source, out = tmp_path / "judged.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"prompt": f"Question {n}?", "response_a": "yes", "response_b": "no", "preferred": preferred}
        for n, preferred in enumerate(["a", "a", "b", "b", "tie", "tie"])
    ]

    def exported(judged: list[dict[str, Any]]) -> dict[str, Any]:
        source.write_text("".join(json.dumps(row) + "\n" for row in judged))
        assert main(["--feedback-file", str(source), "--output", str(out)]) == 0
        return dict(json.loads((tmp_path / "out.jsonl.manifest.json").read_text()))

    manifest, pairs = exported(rows), out.read_bytes()
    ties = read(tmp_path / "out.ties.jsonl")
    assert [row["prompt"] for row in ties] == ["Question 4?", "Question 5?"]
    assert {row["metadata"]["label"] for row in ties} == {0.5}
    digest = hashlib.sha256((tmp_path / "out.ties.jsonl").read_bytes()).hexdigest()
    assert manifest["files"]["out.ties.jsonl"] == {"rows": 2, "sha256": digest}
    assert manifest["counts"]["ties"] == 2
    assert {source["source_id"] for source in manifest["sources"]} == {f"line_{n}" for n in range(1, 7)}
    assert exported(rows[:4])["files"]["out.ties.jsonl"]["rows"] == 0
    assert (tmp_path / "out.ties.jsonl").read_bytes() == b""
    assert out.read_bytes() == pairs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--feedback-db"),
        (("--feedback-db", "postgresql://u:topsecret@127.0.0.1:9/none"), "No PostgreSQL answers"),
        (("--feedback-db", "mysql://u:topsecret@127.0.0.1/none"), "mysql"),
        (("--feedback-db", "not a url topsecret"), "cannot be read"),
        (("--feedback-file", "nowhere.jsonl"), "no file nowhere.jsonl"),
        (("--feedback-file", "a", "--feedback-db", "b"), "not both"),
    ],
)
def test_a_bad_source_is_one_sentence_and_nothing_is_written(
    main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    assert main([*words, "--output", str(tmp_path / "out.jsonl")]) == 1
    told = capsys.readouterr()
    assert message in told.err
    assert "topsecret" not in told.err + told.out
    assert len(told.err.strip().splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_an_output_that_cannot_be_written_leaves_nothing_half(
    main: Main, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = tmp_path / "pairs.jsonl"
    pairs = [{"prompt": f"Q{n}", "chosen": "yes", "rejected": "no"} for n in range(4)]
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "taken").write_text("a file where a folder is needed")
    assert main(["--feedback-file", str(source), "--output", str(tmp_path / "taken" / "out.jsonl")]) == 1
    assert "Writing" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "a file where a folder is needed"
