"""A dataset of which a judgement was withdrawn since stays here, and so does what was made from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from preceptor.artifacts.lineage import record_artifact
from preceptor.artifacts.store import Artifact
from preceptor.cli import main as preceptor
from preceptor.cloud.withdrawals import require_standing
from preceptor.collect.consent import withdraw_consent
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import DatasetMember
from preceptor.errors import GateRefused
from preceptor.settings import Settings

Make = Callable[..., Artifact]


@pytest.fixture
def prepared(engine: sa.Engine, settings: Settings, make_dataset: Make) -> str:
    """A dataset of three comparisons, two of clinician 1 and one of clinician 2."""
    dataset = make_dataset(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO users (role) SELECT 'clinician' FROM generate_series(1, 2)")
        connection.exec_driver_sql(
            "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, clinician_id)"
            " SELECT 'pref_' || n, 'p', 'a', 'b', 'a', 1 + n / 3 FROM generate_series(1, 3) n"
        )
    with session_scope(engine) as session:
        record_artifact(session, dataset, run_id=None)
        members = [{"kind": "preference", "source_id": f"pref_{n}", "source_revision": 1} for n in (1, 2, 3)]
        session.execute(sa.insert(DatasetMember), [{"artifact_id": dataset.id, "split": "train", **m} for m in members])
        require_standing(session, dataset.id)
    return dataset.id


def test_one_withdrawn_consent_or_judgement_keeps_a_dataset_here(engine: sa.Engine, prepared: str) -> None:
    with session_scope(engine) as session:
        withdraw_consent(session, 2)
        with pytest.raises(GateRefused, match=rf"{prepared} stays here: 1 of its 3 judgements may no longer be used"):
            require_standing(session, prepared)
        session.execute(sa.text("UPDATE rlhf_preferences SET withdrawn_at = now() WHERE preference_id = 'pref_1'"))
        session.execute(
            sa.text("UPDATE rlhf_preferences SET review_status = 'rejected' WHERE preference_id = 'pref_2'")
        )
        with pytest.raises(GateRefused, match="3 of its 3"):
            require_standing(session, prepared)
        require_standing(session, "dataset-0123456789abcdef")  # none of whose judgements are known here


def test_a_model_made_from_it_is_not_sent_either(
    engine: sa.Engine,
    settings: Settings,
    prepared: str,
    make_child: Make,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PRECEPTOR_HOME", str(settings.home))
    monkeypatch.setenv("DATABASE_URL", str(settings.database_url))
    with session_scope(engine) as session:
        withdraw_consent(session, 2)
    reward = make_child(settings, "reward_model", [prepared])
    shared = settings.home.parent / "shared"
    words = ["--reward-model", reward.id, "--base-model", "s3://clinic/models/llama", "--shared", str(shared)]
    assert preceptor(["cloud", "ray", "policy", *words, "--no-wait"]) == 3
    assert f"{prepared} stays here" in capsys.readouterr().err
    assert not shared.exists()
