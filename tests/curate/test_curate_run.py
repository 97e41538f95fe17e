"""What is curated, what is excluded and why, and that only changes are touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.collect.consent import grant_consent, withdraw_consent
from preceptor.curate.config import CurateConfig
from preceptor.curate.run import run
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import CuratedRecord
from preceptor.errors import ModelError, RunCanceled
from preceptor.privacy import entities, scrub
from preceptor.settings import load_settings
from preceptor.stage import StageContext, StageResult

Run = Callable[..., StageResult]
Add = Callable[..., None]
Sql = Callable[..., list[Any]]

PLANTED = ("Wilhelmina", "Achterberg", "5512098", "Oyelaran", "555-867-5309")


def records(engine: sa.Engine) -> dict[str, CuratedRecord]:
    with Session(engine) as session:
        return {record.source_id: record for record in session.scalars(sa.select(CuratedRecord))}


def user(sql: Sql, **values: Any) -> int:
    row = {"role": "clinician", **values}
    return sql(f"INSERT INTO users ({', '.join(row)}) VALUES ({', '.join(':' + c for c in row)}) RETURNING id", **row)[
        0
    ][0]


def test_rows_of_plain_sql_come_out_without_identifiers(
    engine: sa.Engine, curate: Run, add_feedback: Add, add_preference: Add, sql: Sql
) -> None:
    clinician = user(sql)
    add_feedback("fb_1", clinician_id=clinician, comments="Wilhelmina liked it")
    add_feedback("fb_2", rating=None, feedback_type="negative")
    add_preference("pref_1", clinician_id=clinician)
    result = curate()
    found = records(engine)
    assert {record.status for record in found.values()} == {"clear"}
    assert found["fb_1"].prompt == "[NAME_1], MRN [MRN_1], has gout. What first?"
    assert found["fb_1"].response_a == "Start naproxen 500 mg for [NAME_1]."
    assert found["pref_1"].response_b == "Call [NAME_2] at [PHONE_1]."
    assert (found["fb_1"].instrument, found["fb_1"].rating) == ("stars", 5)
    assert (found["fb_2"].instrument, found["fb_2"].thumb) == ("thumbs", -1)
    assert (found["pref_1"].instrument, found["pref_1"].outcome) == ("comparison", "a")
    assert found["fb_1"].rater == found["pref_1"].rater != None  # noqa: E711 - both are the same pseudonym
    assert found["fb_1"].findings == {"NAME": 2, "MRN": 1}
    assert result.metrics["clear"] == 3
    stored = json.dumps(sql("SELECT json_agg(c) FROM curated_records c")[0][0]) + result.summary
    assert not [value for value in PLANTED if value in stored]


def test_a_second_run_touches_nothing(engine: sa.Engine, curate: Run, add_feedback: Add, add_preference: Add) -> None:
    add_feedback("fb_1")
    add_preference("pref_1")
    curate()
    before = {name: record.curated_at for name, record in records(engine).items()}
    result = curate()
    assert {name: record.curated_at for name, record in records(engine).items()} == before
    assert "0 were new or changed" in result.summary


def test_only_what_changed_is_curated_again(engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql) -> None:
    add_feedback("fb_1")
    add_feedback("fb_2")
    curate()
    before = records(engine)
    sql("UPDATE rlhf_feedback SET agent_response = 'Give colchicine.' WHERE feedback_id = 'fb_2'")
    result = curate()
    after = records(engine)
    assert after["fb_2"].response_a == "Give colchicine."
    assert after["fb_1"].curated_at == before["fb_1"].curated_at
    assert result.metrics["touched_clear"] == 1


def test_a_better_scrubber_cleans_everything_again(
    engine: sa.Engine, curate: Run, add_feedback: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_feedback("fb_1")
    curate()
    monkeypatch.setattr("preceptor.curate.records.SCRUBBER_VERSION", "next")
    curate()
    assert records(engine)["fb_1"].scrubber_version == "next"


def test_withdrawn_rejected_and_empty_rows_are_excluded_without_text(
    engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql
) -> None:
    for name in ("fb_1", "fb_2", "fb_3"):
        add_feedback(name)
    curate()
    sql("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE feedback_id = 'fb_1'")
    sql("UPDATE rlhf_feedback SET review_status = 'rejected' WHERE feedback_id = 'fb_2'")
    sql("UPDATE rlhf_feedback SET agent_response = '  ' WHERE feedback_id = 'fb_3'")
    curate()
    found = records(engine)
    assert {name: (record.status, record.reason) for name, record in found.items()} == {
        "fb_1": ("excluded", "withdrawn"),
        "fb_2": ("excluded", "rejected in review"),
        "fb_3": ("excluded", "a text is empty"),
    }
    assert all(record.prompt is None and record.response_a is None for record in found.values())


def test_an_erased_row_leaves_no_record(engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql) -> None:
    add_feedback("fb_1")
    curate()
    sql("DELETE FROM rlhf_feedback")
    assert curate().metrics["removed"] == 1
    assert records(engine) == {}


@pytest.mark.parametrize(
    ("source", "event", "status"),
    [
        ("seed", None, "clear"),
        ("import", None, "clear"),
        ("api", None, "excluded"),
        ("page", "internal_training", "clear"),
        ("page", "quality_only", "excluded"),
        ("import", "quality_only", "excluded"),
        ("seed", "withdrawn", "excluded"),
        ("api", "withdrawn", "excluded"),
    ],
)
def test_consent_decides(
    engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql, source: str, event: str | None, status: str
) -> None:
    clinician = user(sql)
    add_feedback("fb_1", clinician_id=clinician, source=source)
    with session_scope(engine) as session:
        if event == "withdrawn":
            grant_consent(session, clinician, scope="internal_training")
            withdraw_consent(session, clinician)
        elif event is not None:
            grant_consent(session, clinician, scope=event)
    curate()
    assert records(engine)["fb_1"].status == status


def test_consent_that_comes_back_brings_the_text_back(
    engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql
) -> None:
    clinician = user(sql)
    add_feedback("fb_1", clinician_id=clinician)
    with session_scope(engine) as session:
        withdraw_consent(session, clinician)
    curate()
    assert records(engine)["fb_1"].prompt is None
    with session_scope(engine) as session:
        grant_consent(session, clinician, scope="internal_training")
    curate()
    assert records(engine)["fb_1"].prompt == "[NAME_1], MRN [MRN_1], has gout. What first?"


def test_a_record_that_cannot_be_cleaned_is_held_and_the_rest_goes_on(
    engine: sa.Engine, curate: Run, add_feedback: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = scrub.detect

    def fails(fields: Any, known: Any = ()) -> Any:
        if any("poison" in field.text for field in fields):
            raise RuntimeError("poison Wilhelmina")
        return real(fields, known)

    add_feedback("fb_1")
    add_feedback("fb_2", agent_response="poison")
    with monkeypatch.context() as patched:
        patched.setattr(scrub, "detect", fails)
        result = curate()
    found = records(engine)
    assert found["fb_1"].status == "clear"
    assert (found["fb_2"].status, found["fb_2"].prompt) == ("held", None)
    assert "Wilhelmina" not in (found["fb_2"].reason or "")
    assert result.metrics["held"] == 1
    curate()
    assert records(engine)["fb_2"].status == "held"
    curate(retry_held=True)
    assert records(engine)["fb_2"].status == "clear"


def test_without_the_model_nothing_is_curated(
    engine: sa.Engine, curate: Run, add_feedback: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_feedback("fb_1")
    monkeypatch.setattr(entities, "find_spec", lambda _: None)
    with pytest.raises(ModelError):
        curate()
    assert records(engine) == {}


def test_an_interrupted_run_keeps_its_batches_and_goes_on(
    engine: sa.Engine, context: StageContext, add_feedback: Add
) -> None:
    for number in range(6):
        add_feedback(f"fb_{number}")
    seen: list[int] = []
    stopping = StageContext(
        context.settings,
        engine,
        context.store,
        None,
        lambda done, _total, _metrics: seen.append(done),
        lambda: bool(seen),
    )
    with pytest.raises(RunCanceled, match="2 of 6"):
        run(CurateConfig(batch_size=2), stopping)
    assert len(records(engine)) == 2
    result = run(CurateConfig(batch_size=2), context)
    assert len(records(engine)) == 6
    assert result.metrics["touched_clear"] == 4


def test_sealed_rows_are_opened_and_tampered_ones_excluded(
    engine: sa.Engine, context: StageContext, add_feedback: Add, database_url: str
) -> None:
    from preceptor.db.encrypted import make_cipher

    settings = load_settings(
        home=context.settings.home, database_url=database_url, encryption_key="a long enough secret for the tests"
    )
    cipher = make_cipher(settings)
    for name in ("fb_1", "fb_2"):
        sealed = {
            column: cipher.seal(text, table="rlhf_feedback", column=column, row="fb_1")
            for column, text in (("user_query", "Dose for Wilhelmina Achterberg?"), ("agent_response", "500 mg"))
        }
        add_feedback(name, **sealed)  # the second row holds ciphertext moved from the first
    run(CurateConfig(), StageContext(settings, engine, context.store))
    found = records(engine)
    assert found["fb_1"].prompt == "Dose for [NAME_1]?"
    assert (found["fb_2"].status, found["fb_2"].reason) == ("excluded", "the stored text does not open")


def test_known_identifiers_of_an_interaction_are_removed(
    engine: sa.Engine, curate: Run, add_feedback: Add, sql: Sql
) -> None:
    sql(
        "INSERT INTO interactions (interaction_id, session_id, agent_name, prompt, response, content_hash, prompt_hash,"
        " known_identifiers, specialty) VALUES ('int_1', 's', 'agent', 'p', 'r', repeat('0', 64), repeat('0', 64),"
        " '[\"blue door\"]', 'cardiology')"
    )
    add_feedback("fb_1", interaction_id="int_1", user_query="Is blue door due for an echo?")
    curate()
    record = records(engine)["fb_1"]
    assert record.prompt == "Is [NAME_1] due for an echo?"
    assert record.specialty == "cardiology"


def test_agreement_and_care_are_reported_without_names(curate: Run, add_feedback: Add, sql: Sql) -> None:
    for number in range(3):
        clinician = user(sql)
        for item in range(12):
            add_feedback(
                f"fb_{number}_{item}", clinician_id=clinician, agent_response=f"Answer {item}", rating=1 + item % 5,
                active_ms=500 if number == 0 else 9000,
            )  # fmt: skip
    metrics = curate().metrics
    assert metrics["agreement_stars_items"] == 12
    assert metrics["agreement_stars_alpha"] == 1
    assert metrics["raters"] == 3
    assert metrics["raters_mostly_too_fast"] == 1
    assert metrics["raters_straight_lining"] == 0


def test_the_seed_column_processed_is_set_once_a_row_is_in_a_dataset(curate: Run, add_feedback: Add, sql: Sql) -> None:
    add_feedback("fb_1")
    add_feedback("fb_2")
    sql("INSERT INTO artifacts (artifact_id, kind) VALUES ('dataset-1', 'dataset')")
    sql(
        "INSERT INTO dataset_members (artifact_id, kind, source_id, source_revision, split)"
        " VALUES ('dataset-1', 'feedback', 'fb_1', 1, 'train')"
    )
    assert curate().metrics["stale_datasets"] == 0
    assert dict(sql("SELECT feedback_id, processed FROM rlhf_feedback")) == {"fb_1": True, "fb_2": False}
    sql("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE feedback_id = 'fb_1'")
    assert curate().metrics["stale_datasets"] == 1


def test_a_dataset_is_stale_once_a_clinician_allows_quality_only(curate: Run, add_feedback: Add, sql: Sql) -> None:
    clinician = sql("INSERT INTO users (role) VALUES ('clinician') RETURNING id")[0][0]
    add_feedback("fb_1", clinician_id=clinician)
    sql("INSERT INTO artifacts (artifact_id, kind) VALUES ('dataset-1', 'dataset')")
    sql(
        "INSERT INTO dataset_members (artifact_id, kind, source_id, source_revision, split)"
        " VALUES ('dataset-1', 'feedback', 'fb_1', 1, 'train')"
    )
    stale = []
    for scope, granted in (("internal_training", True), ("quality_only", True), ("internal_training", True)):
        sql(
            "INSERT INTO consents (clinician_id, scope, policy_version, granted) VALUES (:c, :s, '1', :g)",
            c=clinician, s=scope, g=granted,
        )  # fmt: skip
        stale.append(curate().metrics["stale_datasets"])
    assert stale == [0, 1, 0]
