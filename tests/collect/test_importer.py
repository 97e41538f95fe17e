"""Importing files: told apart by their fields, reported line by line, all or nothing, and harmless to repeat."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from preceptor.artifacts.store import ArtifactStore
from preceptor.collect.config import CollectConfig
from preceptor.collect.export import export_file
from preceptor.collect.importer import ImportOptions, ImportRefusedError, ImportReport, import_lines
from preceptor.collect.judgements import KINDS
from preceptor.collect.rows import RejectedLineError, detect_kind, parse_json, parse_row
from preceptor.collect.run import run
from preceptor.db.encrypted import TextCipher, make_cipher
from preceptor.db.engine import session_scope
from preceptor.errors import InputError
from preceptor.settings import Settings
from preceptor.stage import StageContext

FEEDBACK = {
    "feedback_id": "fb_abc123", "session_id": "sess_xyz789", "agent_name": "prescription_agent",
    "user_query": "Prescribe treatment for hypertension", "agent_response": "I recommend starting with lisinopril",
    "rating": 5, "feedback_type": "positive", "clinician_id": 123, "timestamp": "2025-01-17T12:00:00Z",
    "comments": "Appropriate first-line treatment",
}  # fmt: skip
PREFERENCE = {"prompt": "P", "response_a": "A", "response_b": "B", "preferred": "a", "clinician_id": 123}
PAIR = {"prompt": "What medication?", "chosen": "Metformin", "rejected": "Insulin", "metadata": {"agent_name": "rx"}}

Load = Callable[..., ImportReport]


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def load(engine: sa.Engine) -> Load:
    def make(content: bytes, **options: Any) -> ImportReport:
        with session_scope(engine) as session:
            source = io.BytesIO(content)
            return import_lines(session, TextCipher(None), lines=source, options=ImportOptions(**options))

    return make


def stored(engine: sa.Engine, table: str) -> list[sa.RowMapping]:
    with engine.connect() as connection:
        return list(connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings())


def test_the_seed_documents_record_comes_in_and_goes_out_unchanged(
    load: Load, engine: sa.Engine, tmp_path: Path
) -> None:
    assert load(lines(FEEDBACK)).counts() == {"created": 1, "updated": 0, "unchanged": 0, "rejected": 0}
    path = tmp_path / "out.jsonl"
    assert export_file(engine, TextCipher(None), kind=KINDS["feedback"], path=path) == 1
    assert json.loads(path.read_text()) == FEEDBACK
    assert list(json.loads(path.read_text())) == [
        "feedback_id", "session_id", "agent_name", "user_query", "agent_response", "rating", "feedback_type",
        "clinician_id", "timestamp", "comments",
    ]  # fmt: skip
    assert path.stat().st_mode & 0o077 == 0, "raw text is for its owner only"
    assert stored(engine, "audit_log")[-1]["detail"] == {"rows": 1}


@pytest.mark.parametrize(
    ("row", "kind", "table"),
    [
        (FEEDBACK, "feedback", "rlhf_feedback"),
        ({name: value for name, value in FEEDBACK.items() if name != "feedback_id"}, "feedback", "rlhf_feedback"),
        (PREFERENCE, "preference", "rlhf_preferences"),
        (PAIR, "pair", "rlhf_preferences"),
    ],
)
def test_importing_again_changes_nothing(
    load: Load, engine: sa.Engine, row: dict[str, Any], kind: str, table: str
) -> None:
    first, again = load(lines(row)), load(lines(row, row))
    assert (first.kind, first.counts()["created"]) == (kind, 1)
    assert again.counts() == {"created": 0, "updated": 0, "unchanged": 2, "rejected": 0}
    (kept,) = stored(engine, table)
    assert (kept["source"], kept["revision"]) == ("import", 1)


def test_a_changed_line_updates_its_row_and_keeps_a_revision(load: Load, engine: sa.Engine) -> None:
    load(lines(FEEDBACK))
    assert load(lines(FEEDBACK | {"rating": 2, "feedback_type": "negative"})).counts()["updated"] == 1
    assert stored(engine, "rlhf_feedback")[0]["rating"] == 2
    assert stored(engine, "revisions")[0]["before"]["rating"] == 5


def test_one_bad_line_stops_the_file_and_is_named(load: Load, engine: sa.Engine) -> None:
    content = lines(PAIR, {"prompt": "x", "rejected": "y"}) + b"\n{nonsense}\n" + lines(PAIR | {"chosen": 7})
    with pytest.raises(ImportRefusedError) as caught:
        load(content)
    assert "line 2: chosen is missing; line 4: the line is not JSON; line 5: chosen: " in caught.value.message
    assert [line.line for line in caught.value.report.lines if line.status == "rejected"] == [2, 4, 5]
    assert stored(engine, "rlhf_preferences") == []
    assert load(content, skip_rejected=True).counts() == {"created": 1, "updated": 0, "unchanged": 0, "rejected": 3}


def test_a_dry_run_reports_the_same_and_stores_nothing(load: Load, engine: sa.Engine) -> None:
    content = lines(FEEDBACK, FEEDBACK | {"feedback_id": "fb_2", "rating": 9})
    report = load(content, dry_run=True)
    assert report.counts() == {"created": 1, "updated": 0, "unchanged": 0, "rejected": 1}
    assert stored(engine, "rlhf_feedback") == stored(engine, "users") == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (lines(PAIR) + b'{"prompt": "cut o', "Line 2, the last of the file, breaks off"),
        (lines(PAIR) + '{"prompt": "é'.encode()[:-1], "Line 2"),
        (b'{"name": "value"}\n', "neither feedback"),
        (b"not json\n", "The first line"),
        (b"[1]\n", "not a JSON object"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(load: Load, engine: sa.Engine, content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load(content)
    assert stored(engine, "rlhf_preferences") == []


def test_a_whole_last_line_needs_no_line_end(load: Load) -> None:
    assert load(b"\xef\xbb\xbf" + lines(PAIR).rstrip()).counts()["created"] == 1


def test_unknown_clinicians_get_closed_accounts_of_the_same_number(load: Load, engine: sa.Engine) -> None:
    load(lines(FEEDBACK))
    (user,) = stored(engine, "users")
    assert (user["id"], user["is_active"], user["login"]) == (123, False, None)
    with engine.begin() as connection:
        assert connection.execute(sa.text("INSERT INTO users (login) VALUES ('new') RETURNING id")).scalar_one() > 123


def test_anonymous_import_leaves_clinicians_out(load: Load, engine: sa.Engine) -> None:
    load(lines(FEEDBACK), anonymous=True)
    assert stored(engine, "rlhf_feedback")[0]["clinician_id"] is None
    assert stored(engine, "users") == []


def test_the_chosen_answer_of_pairs_is_not_always_a(load: Load, engine: sa.Engine) -> None:
    load(lines(*({"prompt": f"P{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(40))))
    rows = stored(engine, "rlhf_preferences")
    for row in rows:
        assert (row["response_a"] if row["preferred"] == "a" else row["response_b"]).startswith("good")
    assert 5 < sum(row["preferred"] == "a" for row in rows) < 35


def test_a_tie_among_pairs_prefers_neither_answer(load: Load, engine: sa.Engine) -> None:
    load(lines(PAIR | {"metadata": {"label": 0.5}}))
    [row] = stored(engine, "rlhf_preferences")
    assert (row["outcome"], row["preferred"]) == ("tie", None)


def test_a_row_by_plain_sql_is_recognized(load: Load, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO users (id) VALUES (123)")
        connection.execute(
            sa.text(
                "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, "
                "feedback_type, clinician_id, comments) VALUES (:feedback_id, :session_id, :agent_name, :user_query, "
                ":agent_response, :rating, :feedback_type, :clinician_id, :comments)"
            ),
            FEEDBACK,
        )
    assert load(lines(FEEDBACK)).counts()["unchanged"] == 1


def test_a_judgement_given_here_is_not_overwritten_by_a_file(load: Load, engine: sa.Engine) -> None:
    load(lines(FEEDBACK))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE rlhf_feedback SET source = 'api'")
    with pytest.raises(ImportRefusedError, match="given here, with other content"):
        load(lines(FEEDBACK | {"rating": 4}))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (FEEDBACK | {"rating": 9}, "rating: "),
        (FEEDBACK | {"rating": 1}, "feedback_type contradicts"),
        (FEEDBACK | {"rating": None, "feedback_type": "neutral", "comments": None}, "at least one"),
        (FEEDBACK | {"session_id": None}, "session_id: "),
        (FEEDBACK | {"agent_response": " "}, "agent_response: The text is blank"),
        (FEEDBACK | {"clinician_id": "dr_who"}, "clinician_id: "),
        (FEEDBACK | {"timestamp": "yesterday"}, "timestamp: "),
        (FEEDBACK | {"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp: The time lies outside"),
        (PAIR | {"metadata": {"timestamp": "9999-12-31T23:59:59-12:00"}}, "timestamp: The time lies outside"),
        (FEEDBACK | {"comments": "a\x00b"}, "comments: The text holds a NUL"),
        (PREFERENCE | {"preferred": None}, "preferred is missing"),
        (PREFERENCE | {"response_b": "A"}, "the two responses are the same"),
        (PAIR | {"rejected": "Metformin"}, "the two responses are the same"),
    ],
)
def test_the_reason_names_the_field_and_quotes_nothing(row: dict[str, Any], reason: str) -> None:
    kind = detect_kind(row)
    assert kind is not None
    with pytest.raises(RejectedLineError, match=reason) as caught:
        parse_row(row, kind)
    for value in ("dr_who", "yesterday", "Metformin", "lisinopril"):
        assert value not in str(caught.value)


def test_thumbs_come_from_a_type_without_a_rating() -> None:
    row = {name: value for name, value in FEEDBACK.items() if name not in {"rating", "feedback_type"}}
    (parsed,) = parse_row(row | {"feedback_type": "negative"}, "feedback")
    assert (parsed.columns["instrument"], parsed.columns["thumb"], parsed.columns["rating"]) == ("thumbs", -1, None)


def test_conversations_are_read_as_text() -> None:
    single = [{"role": "user", "content": "What dose?"}]
    many = [*single, {"role": "assistant", "content": "For whom?"}, {"role": "user", "content": "An adult."}]
    for prompt, text in ((single, "What dose?"), (many, "User: What dose?\nAssistant: For whom?\nUser: An adult.")):
        (parsed,) = parse_row(PAIR | {"prompt": prompt}, "pair")
        assert parsed.columns["prompt"] == text


FIELDS = sorted({*FEEDBACK, *PREFERENCE, *PAIR, "thumb", "correction", "harm_severity", "reasons", "strength"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "content"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES), st.sampled_from([FEEDBACK, PREFERENCE, PAIR]), st.data())
def test_any_object_is_a_judgement_or_rejected_with_a_reason(
    noise: dict[str, Any], whole: dict[str, Any], data: st.DataObject
) -> None:
    spoiled = whole | {name: noise[name] for name in data.draw(st.sets(st.sampled_from([*noise, None]))) if name}
    kind = detect_kind(spoiled)
    assert kind is not None
    try:
        parsed = parse_row(parse_json(json.dumps(spoiled).encode()), kind)
    except RejectedLineError:
        return
    assert all(row.judgement_id and row.columns["content_hash"] for row in parsed)


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b"{", b'"text"', b"[" * 9999, b"9" * 9999, b""])
def test_bytes_that_are_no_object_are_rejected(content: bytes) -> None:
    with pytest.raises(RejectedLineError, match="the line is not"):
        parse_json(content)


def test_everything_that_was_exported_is_recognized_when_sealed_texts_are_on(engine: sa.Engine, tmp_path: Path) -> None:
    cipher = make_cipher(Settings(home=tmp_path, encryption_key="x" * 40))  # type: ignore[arg-type]
    rows = [
        FEEDBACK,
        FEEDBACK | {"feedback_id": "fb_2", "rating": None, "comments": None},
        FEEDBACK | {"feedback_id": "fb_3", "rating": None, "feedback_type": None, "correction": "Start low."},
    ]
    comparisons = lines(PREFERENCE, PREFERENCE | {"preferred": "tie", "prompt": "Q"})
    for kind, content in (("feedback", lines(*rows)), ("preferences", comparisons)):
        with session_scope(engine) as session:
            import_lines(session, cipher, lines=io.BytesIO(content), options=ImportOptions())
        path = tmp_path / f"{kind}.jsonl"
        export_file(engine, cipher, kind=KINDS[kind], path=path)
        with session_scope(engine) as session, path.open("rb") as file:
            report = import_lines(session, cipher, lines=file, options=ImportOptions())
        assert set(report.counts().values()) == {0, len(content.splitlines())}
        assert report.counts()["unchanged"] == len(content.splitlines())
    assert all(row["user_query"].startswith("enc:v1:") for row in stored(engine, "rlhf_feedback"))
    assert "lisinopril" not in str(stored(engine, "rlhf_feedback"))


def test_the_stage_imports_a_file_and_counts_what_may_train(
    engine: sa.Engine, settings: Settings, store: ArtifactStore, tmp_path: Path
) -> None:
    context = StageContext(settings=settings, engine=engine, store=store)
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines(FEEDBACK, FEEDBACK | {"feedback_id": "fb_2", "rating": 3, "feedback_type": "neutral"}))
    done = run(CollectConfig(file=path), context)
    assert done.summary == "Imported in.jsonl: 2 created."
    counted = run(CollectConfig(), context).metrics
    assert (counted["judgements"], counted["eligible"], counted["judgements_stars"]) == (2, 2, 2)
    bare = {name: FEEDBACK[name] for name in FEEDBACK if name not in ("rating", "feedback_type")}
    path.write_bytes(lines(bare | {"feedback_id": "fb_3", "comments": "Too long."}))
    run(CollectConfig(file=path), context)
    counted = run(CollectConfig(), context).metrics
    assert (counted["judgements"], counted["eligible"], counted["judgements_comment"]) == (3, 2, 1)
    with session_scope(engine) as session:
        session.execute(sa.text("UPDATE users SET is_simulated = true"))
    assert run(CollectConfig(), context).metrics["eligible"] == 0
    of_the_demo = replace(context, settings=settings.model_copy(update={"retrain_on_simulated": True}))
    assert run(CollectConfig(), of_the_demo).metrics["eligible"] == 2
    with session_scope(engine) as session:
        session.execute(sa.text("UPDATE users SET is_simulated = false"))
    with session_scope(engine) as session:
        from preceptor.collect.consent import withdraw_consent

        withdraw_consent(session, 123)
    assert run(CollectConfig(), context).metrics["eligible"] == 0
    with pytest.raises(InputError, match="cannot be read"):
        run(CollectConfig(file=tmp_path / "none.jsonl"), context)
