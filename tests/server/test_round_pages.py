"""A round's page and its evaluation report: the release's own gates, under a policy that lets nothing else in."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Round, Run

LOOK = {"mean_words": 9.0, "finished": 1.0, "repetition": 0.0, "distinct_2": 0.8, "empty": 0.0}
SHARE = {"estimate": 0.7, "low": 0.58, "high": 0.8, "n": 48}
REPORT = {
    "policy": "policy-1", "baseline": "gpt2", "n_prompts": 48, "judge": "reward_model", "win_rate": SHARE,
    "length_controlled_win_rate": SHARE, "reward_win_rate": SHARE, "outcomes": {"wins": 30, "ties": 0, "losses": 18},
    "quality": {"candidate": LOOK, "baseline": LOOK, "length_ratio": 1.0, "unfinished_rise": 0.0},
    "kl": {"sequence_k1": 70.0, "token_k3": 1.0}, "reward_model": {"n": 0, "accuracy": None},
}  # fmt: skip
ROW = {"prompt": "Q?", "candidate": "new", "baseline": "old", "candidate_score": 1.0, "baseline_score": 0.0}
ROUND = "http://testserver/runs/round-1"
Client = Callable[..., TestClient]


@pytest.fixture
def refused_round(app: FastAPI, engine: sa.Engine) -> None:
    """A round whose release was refused by a KL budget of its own."""
    store = ArtifactStore(app.state.preceptor.settings.artifacts_dir)
    with store.building("report") as build:
        (build.path / "report.json").write_text(json.dumps(REPORT))
        (build.path / "answers.jsonl").write_text(json.dumps(ROW) + "\n")
    gates = {"max_kl": 65.0}
    with session_scope(engine) as session:
        session.add(Round(round_id="round-1", agent_name="agent", trigger_key="manual:1", state="refused"))
        session.flush()
        for number, (stage, state, config, made) in enumerate(
            (("evaluate", "succeeded", {}, build.artifact.id), ("release", "refused", {"gates": gates}, None))
        ):
            session.add(
                Run(
                    run_id=f"run-{number}",
                    round_id="round-1",
                    stage=stage,
                    state=state,
                    config=config,
                    artifact_id=made,
                )
            )


@pytest.mark.usefixtures("refused_round")
def test_the_report_shows_the_gates_as_the_release_applied_them(client: Client) -> None:
    engineer = client("ml", "ml_engineer")
    shown = engineer.get(f"{ROUND}/report")
    assert shown.status_code == 200
    assert "70 is not at most 65" in shown.text
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "script-src" not in policy
    page = engineer.get(ROUND)
    assert f'href="{ROUND.removeprefix("http://testserver")}/report"' in page.text
    assert "at most 65" in page.text


@pytest.mark.usefixtures("refused_round")
def test_a_report_is_not_for_clinicians_and_a_round_without_one_has_none(client: Client, engine: sa.Engine) -> None:
    assert client("ada").get(f"{ROUND}/report").status_code == 403
    with session_scope(engine) as session:
        session.execute(sa.update(Run).values(artifact_id=None))
    engineer = client("ml", "ml_engineer")
    assert engineer.get(f"{ROUND}/report").status_code == 404
    assert "evaluation report" not in engineer.get(ROUND).text


@pytest.mark.usefixtures("refused_round")
def test_only_a_failed_or_canceled_round_can_be_tried_again(client: Client, engine: sa.Engine) -> None:
    engineer, auditor = client("ml", "ml_engineer"), client("eve", "auditor")
    assert engineer.post(f"{ROUND}/retry").status_code == 409
    with session_scope(engine) as session:
        session.execute(sa.update(Round).values(state="failed"))
    assert auditor.post(f"{ROUND}/retry").status_code == 403
    assert engineer.post(f"{ROUND}/retry", follow_redirects=False).status_code == 303
    with session_scope(engine) as session:
        assert session.scalar(sa.select(Round.state)) == "queued"
