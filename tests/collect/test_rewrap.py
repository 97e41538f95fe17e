"""A change of the encryption key: both keys open, the new one seals, and no row is left under the old one."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from preceptor import cli
from preceptor.collect.feedback import edit_feedback, record_feedback
from preceptor.collect.interactions import Rater
from preceptor.collect.rewrap import rewrap_rows
from preceptor.collect.schemas import FeedbackEdit, FeedbackIn
from preceptor.collect.texts import get_text
from preceptor.db.encrypted import TextCipher, make_cipher
from preceptor.db.engine import session_scope
from preceptor.db.tables.raw import Feedback, Interaction, Revision
from preceptor.errors import ConfigError
from preceptor.settings import Settings, load_settings

OLD, NEW = "o" * 40, "n" * 40


def cipher(*secrets: str) -> TextCipher:
    return make_cipher(Settings(encryption_key=", ".join(secrets)))  # type: ignore[arg-type]


def fill(engine: sa.Engine, used: TextCipher, *, first: int, count: int) -> None:
    with session_scope(engine) as session:
        session.execute(sa.text("INSERT INTO users (id, role) VALUES (1, 'clinician') ON CONFLICT DO NOTHING"))
        rater = Rater(user_id=1, role="clinician", specialty=None)
        for number in range(first, first + count):
            given = FeedbackIn(
                session_id="s", agent_name="a", user_query=f"Question {number}", agent_response="Zebulon", rating=4,
                comments="first words",
            )  # fmt: skip
            landed = record_feedback(session, used, given=given, rater=rater)
            edit_feedback(
                session, used, feedback_id=landed[0].row.feedback_id, given=FeedbackEdit(comments="second words"),
                rater=rater, expected_revision=None,
            )  # fmt: skip


def test_every_sealed_text_moves_to_the_new_key_and_the_old_one_is_not_needed(engine: sa.Engine) -> None:
    fill(engine, cipher(OLD), first=0, count=5)
    fill(engine, cipher(NEW, OLD), first=5, count=2)
    fill(engine, TextCipher(None), first=7, count=1)
    with pytest.raises(ConfigError, match="add the old key after the new one"):
        rewrap_rows(engine, cipher(NEW))
    assert rewrap_rows(engine, cipher(NEW, OLD), batch=2) == {
        "interactions": 5, "rlhf_feedback": 5, "rlhf_preferences": 0, "revisions": 5,
    }  # fmt: skip
    assert sum(rewrap_rows(engine, cipher(NEW, OLD)).values()) == 0
    new = cipher(NEW)
    with session_scope(engine) as session:
        judged = session.scalars(sa.select(Feedback).order_by(Feedback.id)).all()
        assert [get_text(row, "user_query", cipher=new) for row in judged] == [f"Question {n}" for n in range(8)]
        assert {get_text(row, "comments", cipher=new) for row in judged} == {"second words"}
        assert {get_text(row, "response", cipher=new) for row in session.scalars(sa.select(Interaction))} == {"Zebulon"}
        before = {
            new.open(row.before["comments"], table="rlhf_feedback", column="comments", row=row.target)
            for row in session.scalars(sa.select(Revision))
        }
    assert before == {"first words"}


def test_the_command_says_how_many_rows_it_changed(
    engine: sa.Engine, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(engine, cipher(OLD), first=0, count=1)
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert cli.main(["db", "rewrap"]) == 1
    monkeypatch.setenv("PRECEPTOR_ENCRYPTION_KEY", f"{NEW},{OLD}")
    assert cli.main(["db", "rewrap"]) == 0
    told = capsys.readouterr()
    assert "PRECEPTOR_ENCRYPTION_KEY is not set" in told.err
    assert "3 rows were put under the first key: 1 interactions, 1 rlhf_feedback" in told.out


def test_production_wants_every_secret_to_be_long() -> None:
    given = {"environment": "production", "secret_key": "s" * 32}
    assert load_settings(**given, encryption_key=f"{NEW}, {OLD}").encryption_secrets == (NEW, OLD)
    for key in (f"{NEW},short", ",", f"short,{OLD}"):
        with pytest.raises(ConfigError, match="PRECEPTOR_ENCRYPTION_KEY is missing or shorter"):
            load_settings(**given, encryption_key=key)
