"""The five numbers, alerts and Prometheus on real PostgreSQL, with rows written as plain SQL writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.orm import Session

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import CuratedRecord, DatasetMember
from preceptor.db.tables.lineage import ArtifactParent, ArtifactRow, Round, Run
from preceptor.db.tables.ops import Alert
from preceptor.db.tables.rollout import Alias, Experiment, Exposure, Release
from preceptor.monitor import metrics, prometheus
from preceptor.monitor.config import MonitorConfig
from preceptor.monitor.run import run
from preceptor.monitor.training import policy_improvement, reward_accuracy
from preceptor.settings import Settings
from preceptor.stage import StageContext

NOW = datetime.now(UTC)
SECRET = "Johannes Quarksdottir, MRN 4471182"
AGENT = "prescription_agent"


def add_users(session: Session, count: int, *, simulated: int = 0) -> None:
    session.execute(
        sa.text(
            "INSERT INTO users (id, login, display_name, specialty, is_simulated) "
            "SELECT n, 'clinician' || n, 'Dr ' || n, 'cardiology', n <= :s FROM generate_series(1, :n) n"
        ),
        {"n": count, "s": simulated},
    )


def rate(
    session: Session, item: str, clinician: int, rating: int, *, at: datetime = NOW, agent: str = AGENT, harm: int = 0
) -> None:
    number = session.scalar(sa.text("SELECT count(*) FROM rlhf_feedback"))
    session.execute(
        sa.text(
            "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, "
            "clinician_id, timestamp, harm_severity, comments) "
            "VALUES (:f, :s, :a, :q, :r, :rating, :c, :t, :h, :comment)"
        ),
        {
            "f": f"fb_{number}",
            "s": SECRET,
            "a": agent,
            "q": f"{SECRET} {item}",
            "r": f"answer to {item}",
            "rating": rating,
            "c": clinician,
            "t": at,
            "h": harm,
            "comment": SECRET,
        },
    )


def compare(
    session: Session, item: str, clinician: int, outcome: str, *, first: str | None = None, at: datetime = NOW
) -> None:
    number = session.scalar(sa.text("SELECT count(*) FROM rlhf_preferences"))
    session.execute(
        sa.text(
            "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, outcome, "
            "clinician_id, timestamp, presented_first, agent_name) "
            "VALUES (:p, :q, 'x', 'y', :chosen, :o, :c, :t, :first, :a)"
        ),
        {
            "p": f"pref_{number}",
            "q": f"{SECRET} {item}",
            "chosen": outcome if outcome in ("a", "b") else None,
            "o": outcome,
            "c": clinician,
            "t": at,
            "first": first,
            "a": AGENT,
        },
    )


def add_run(session: Session, stage: str, run_metrics: dict[str, object], **values: object) -> None:
    number = session.scalar(sa.select(sa.func.count()).select_from(Run))
    defaults: dict[str, object] = {"state": "succeeded", "config": {}, "ended_at": NOW}
    session.add(Run(run_id=f"run{number}", stage=stage, metrics=run_metrics, **{**defaults, **values}))
    session.flush()


@pytest.fixture
def context(settings: Settings, engine: sa.Engine, store: ArtifactStore) -> StageContext:
    return StageContext(settings=settings, engine=engine, store=store)


def test_an_empty_database_gives_zeros_and_no_claims(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        found = metrics.loop_metrics(session, days=7)
    assert [(d.feedback, d.preferences) for d in found.volume.days] == [(0, 0)] * 7
    assert found.ratings.n == 0
    assert found.agreement.stars.items == 0
    assert not found.agreement.stars.alpha.excludes(0.0)
    assert found.reward is None
    assert found.policy is None


def test_volume_counts_days_in_utc_and_leaves_out_what_was_withdrawn_or_rejected(engine: sa.Engine) -> None:
    noon = NOW.replace(hour=12, minute=0)
    with session_scope(engine) as session:
        add_users(session, 3, simulated=1)
        for back in (0, 0, 1, 5, 40):
            rate(session, f"q{back}", 1 + back % 3, 4, at=noon - timedelta(days=back))
        compare(session, "p", 2, "a", at=noon - timedelta(days=1))
        rate(session, "gone", 3, 1, at=noon)
        rate(session, "bad", 3, 1, at=noon)
        session.execute(sa.text("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE feedback_id = 'fb_5'"))
        session.execute(sa.text("UPDATE rlhf_feedback SET review_status = 'rejected' WHERE feedback_id = 'fb_6'"))
        volume = metrics.feedback_volume(session, days=7, now=noon)
    assert [(d.feedback, d.preferences) for d in volume.days] == [
        (0, 0),
        (1, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (1, 1),
        (2, 0),
    ]
    assert volume.days[-1].day == noon.date()
    assert (volume.feedback, volume.preferences, volume.clinicians) == (5, 1, 3)
    assert volume.simulated == 2


def test_ratings_and_thumbs_are_counted_each_as_itself(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_users(session, 4)
        for clinician, stars in enumerate((1, 4, 4, 5), start=1):
            rate(session, "q", clinician, stars)
        session.execute(
            sa.text(
                "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, "
                "feedback_type) VALUES ('t', 's', 'a', 'q', 'r', 'negative')"
            )
        )
        ratings = metrics.rating_distribution(session)
    assert ratings.stars == {1: 1, 2: 0, 3: 0, 4: 2, 5: 1}
    assert (ratings.thumbs_up, ratings.thumbs_down) == (0, 1)
    assert ratings.mean.estimate == 3.5
    assert ratings.mean.low < 3.5 < ratings.mean.high


def test_agreement_needs_two_clinicians_on_the_same_answer(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_users(session, 3)
        for item in range(20):
            rate(session, f"q{item}", 1, 1 + item % 5)
            rate(session, f"q{item}", 2, 1 + item % 5)
        rate(session, "alone", 3, 1)
        # the same clinician again replaces, and is no second rater
        rate(session, "q0", 1, 5, at=NOW + timedelta(minutes=1))
        stars = metrics.agreement_rate(session).stars
    assert (stars.items, stars.judgements) == (20, 40)
    assert stars.percent.estimate < 1.0
    assert stars.alpha.estimate > 0.75
    assert stars.ac.estimate > 0.75


def test_agreement_on_comparisons_is_nominal_and_skips_cannot_judge(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_users(session, 2)
        for item in range(12):
            compare(session, f"q{item}", 1, "a" if item % 2 else "tie")
            compare(session, f"q{item}", 2, "a" if item % 2 else "tie")
        compare(session, "hard", 1, "cannot_judge")
        compare(session, "hard", 2, "cannot_judge")
        comparisons = metrics.agreement_rate(session).comparisons
    assert comparisons.items == 12
    assert comparisons.percent.estimate == comparisons.alpha.estimate == comparisons.ac.estimate == 1.0


def test_one_agent_can_be_measured_alone(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_users(session, 1)
        rate(session, "q", 1, 5)
        rate(session, "q", 1, 1, agent="other_agent")
        assert metrics.rating_distribution(session, agent_name=AGENT).mean.estimate == 5.0
        assert metrics.agent_names(session) == ["other_agent", AGENT]


def test_the_newest_finished_run_speaks_for_the_models(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        assert reward_accuracy(session) is None
        older = NOW - timedelta(days=1)
        add_run(session, "reward", {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}, ended_at=older)
        add_run(
            session,
            "reward",
            {
                "accuracy": 0.8,
                "accuracy_low": 0.7,
                "accuracy_high": 0.9,
                "test_pairs": 120,
                "length_only_accuracy": 0.55,
            },
        )
        add_run(session, "reward", {}, state="failed")
        add_run(
            session,
            "evaluate",
            {"win_rate": 0.62, "win_rate_low": 0.54, "win_rate_high": 0.7, "n_prompts": 60, "kl": 4.5},
        )
        reward, policy = reward_accuracy(session), policy_improvement(session)
    assert reward is not None
    assert policy is not None
    assert (reward.accuracy.estimate, reward.accuracy.n, reward.length_only) == (0.8, 120, 0.55)
    assert (policy.win_rate.low, policy.win_rate.high, policy.kl) == (0.54, 0.7, 4.5)


def test_the_policy_of_one_agent_is_that_of_its_own_rounds(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        for name, agent in (("own", AGENT), ("other", "other_agent"), ("all", None)):
            session.add(Round(round_id=name, trigger_key=name, agent_name=agent, state="succeeded", config={}))
        session.flush()
        for rate_won, round_id in ((0.6, "own"), (0.7, "other"), (0.8, None)):
            add_run(session, "evaluate", {"win_rate": rate_won}, round_id=round_id)
        agents = (AGENT, "other_agent", "third_agent", None)
        found = [policy_improvement(session, agent_name=agent) for agent in agents]
        assert [one and one.win_rate.estimate for one in found] == [0.6, 0.7, None, 0.8]
        add_run(session, "evaluate", {"win_rate": 0.9}, round_id="all")
        found = [policy_improvement(session, agent_name=agent) for agent in agents]
        assert [one and one.win_rate.estimate for one in found] == [0.9] * 4


def test_the_stage_raises_an_alert_once_and_resolves_it_when_it_passes(
    engine: sa.Engine, context: StageContext
) -> None:
    with session_scope(engine) as session:
        add_users(session, 2)
        rate(session, "q", 1, 4, at=NOW - timedelta(days=20))
        session.add(Alert(key="jobs.other", severity="info", message="somebody else's"))
    for _ in range(2):
        result = run(MonitorConfig(), context)
    assert result.metrics["alerts"] == 1
    with session_scope(engine) as session:
        rows = session.scalars(sa.select(Alert).where(Alert.key == "monitor.silence")).all()
        assert len(rows) == 1
        assert "No judgement has come in for" in rows[0].message
        rate(session, "q", 2, 4)
    run(MonitorConfig(), context)
    with session_scope(engine) as session:
        assert session.scalars(sa.select(Alert.key).where(Alert.resolved_at.is_(None))).all() == ["jobs.other"]


def test_the_stage_names_every_thing_that_is_wrong(engine: sa.Engine, context: StageContext) -> None:
    with session_scope(engine) as session:
        add_users(session, 40)
        for item in range(40):
            before = NOW - timedelta(days=40, hours=item)
            rate(session, f"old{item}", 1 + item, 5, at=before)
            rate(session, f"q{item}", 1 + item, 5 if item % 2 else 1, at=NOW - timedelta(hours=1), agent="new_agent")
            rate(session, f"q{item}", 1 + (item + 1) % 40, 1, at=NOW - timedelta(hours=1), harm=3 if item == 0 else 0)
            compare(session, f"c{item}", 1 + item, "a", first="a")
        add_run(session, "reward", {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6})
        add_run(session, "evaluate", {"win_rate": 0.3, "win_rate_low": 0.2, "win_rate_high": 0.4})
        add_run(session, "policy", {}, state="running", ended_at=None, heartbeat_at=NOW - timedelta(hours=2))
    result = run(MonitorConfig(), context)
    with session_scope(engine) as session:
        keys = set(session.scalars(sa.select(Alert.key)))
    expected = {"critical_harm", "position_bias", "agent_mix", "agreement.stars", "rating_drift"}
    expected |= {"reward_accuracy", "policy_win_rate", "stuck_run.run2"}
    assert keys == {f"monitor.{key}" for key in expected}
    assert result.metrics["alerts"] == len(expected)


def test_models_that_descend_from_withdrawn_data_are_named(engine: sa.Engine, context: StageContext) -> None:
    kinds = {"dataset-1": "dataset", "dataset-2": "dataset", "reward_model-1": "reward_model", "policy-1": "policy"}
    kinds |= {"policy-2": "policy", "reward_model-3": "reward_model", "report-1": "report"}
    made_from = [("reward_model-1", "dataset-1"), ("policy-1", "reward_model-1"), ("policy-2", "policy-1")]
    made_from += [("report-1", "policy-1"), ("reward_model-3", "dataset-2")]
    with session_scope(engine) as session:
        add_users(session, 1)
        rate(session, "one", 1, 4)
        rate(session, "two", 1, 4)
        session.add_all(ArtifactRow(artifact_id=name, kind=kind) for name, kind in kinds.items())
        session.flush()
        session.add_all(ArtifactParent(artifact_id=child, parent_id=parent) for child, parent in made_from)
        for number in (0, 1):
            member = {"kind": "feedback", "source_id": f"fb_{number}", "source_revision": 1, "split": "train"}
            session.add(DatasetMember(artifact_id=f"dataset-{number + 1}", **member))
    assert alerts_of(engine, context, "monitor.stale_models") == []
    with session_scope(engine) as session:
        session.execute(sa.text("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE feedback_id = 'fb_0'"))
    assert alerts_of(engine, context, "monitor.stale_models") == [
        "Judgements in dataset-1 were taken back; policy-1, policy-2, reward_model-1 descend from them. "
        "Train again without them and promote the result."
    ]


def alerts_of(engine: sa.Engine, context: StageContext, key: str) -> list[str]:
    run(MonitorConfig(), context)
    with session_scope(engine) as session:
        return list(session.scalars(sa.select(Alert.message).where(Alert.key == key)))


def test_the_snapshot_file_is_json_without_a_word_of_text(engine: sa.Engine, context: StageContext) -> None:
    with session_scope(engine) as session:
        add_users(session, 2)
        rate(session, "q", 1, 4)
        rate(session, "q", 2, 4)
    run(MonitorConfig(), context)
    text = (context.settings.home / "monitor.json").read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["metrics"]["volume"]["feedback"] == 2
    assert "Quarksdottir" not in text
    assert "4471182" not in text


def scrape(engine: sa.Engine) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    body = prometheus.render(engine).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def test_prometheus_reads_the_database_at_each_scrape(engine: sa.Engine) -> None:
    assert scrape(engine)["rlhf_rating_total", (("stars", "5"),)] == 0
    with session_scope(engine) as session:
        add_users(session, 3)
        for clinician in (1, 2, 3):
            rate(session, "q", clinician, 5, harm=2 if clinician == 1 else 0)
            rate(session, "r", clinician, clinician)
        compare(session, "q", 1, "a")
        session.add(
            CuratedRecord(
                kind="feedback",
                source_id="fb_0",
                source_revision=1,
                source_hash="0" * 64,
                scrubber_version="1",
                status="clear",
                instrument="stars",
                agent_name=AGENT,
            )
        )
        add_run(session, "reward", {"accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9})
        add_run(session, "evaluate", {"win_rate": 0.6, "win_rate_low": 0.52, "win_rate_high": 0.7, "kl": 3.0})
        add_run(session, "policy", {}, state="running", ended_at=None, heartbeat_at=NOW - timedelta(seconds=90))
        for version in (0, 1):
            session.add(
                Release(
                    release_id=f"r{version}",
                    agent_name=AGENT,
                    version=version,
                    model="m",
                    digest=f"d{version}",
                    state="x",
                )
            )
        session.flush()
        session.add(Alias(agent_name=AGENT, alias="active", release_id="r1", generation=3))
        session.add(
            Experiment(
                experiment_id="exp1",
                agent_name=AGENT,
                control_release_id="r0",
                treatment_release_id="r1",
                hash_seed="exp1",
                decision={"evidence": {"log_evidence": {"harm_duels": 0.5}}},
            )
        )
        session.flush()
        for number, latency in enumerate((400, 900, 7000)):
            session.add(
                Exposure(
                    exposure_id=f"x{number}",
                    experiment_id="exp1",
                    unit="u",
                    arm="treatment",
                    model_digest="d1",
                    latency_ms=latency,
                )
            )
    found = scrape(engine)
    agent = ("agent", AGENT)
    assert found["rlhf_feedback_total", (agent, ("kind", "stars"))] == 6
    assert found["rlhf_feedback_total", (agent, ("kind", "comparison"))] == 1
    assert found["rlhf_rating_total", (("stars", "5"),)] == 3
    assert found["rlhf_safety_flags_total", (agent, ("arm", ""), ("severity", "2"))] == 1
    assert found["rlhf_feedback_eligible", (agent,)] == 1
    assert found["rlhf_rm_accuracy", (("bound", "low"), ("split", "test"))] == 0.7
    assert found["rlhf_policy_winrate", (("bound", "estimate"),)] == 0.6
    assert found["rlhf_policy_kl", ()] == 3.0
    assert found["rlhf_exposures_total", (("arm", "treatment"), ("experiment", "exp1"))] == 3
    assert found["rlhf_evidence_log_e", (("experiment", "exp1"), ("test", "harm_duels"))] == 0.5
    assert found["rlhf_alias_generation", (agent, ("alias", "active"))] == 3
    assert found["rlhf_jobs_total", (("kind", "policy"), ("state", "running"))] == 1
    assert 80 < found["rlhf_job_heartbeat_age_seconds", (("kind", "policy"),)] < 86_400
    assert found["rlhf_generation_seconds_bucket", (("le", "1"), ("model", "1"))] == 2
    assert found["rlhf_generation_seconds_count", (("model", "1"),)] == 3
    assert found["rlhf_generation_seconds_sum", (("model", "1"),)] == pytest.approx(8.3)
    alpha = (("agent", "all"), ("bound", "estimate"), ("instrument", "stars"), ("metric", "alpha"))
    assert -1 <= found["rlhf_rater_agreement_alpha", alpha] <= 1


def test_prometheus_never_names_a_person_a_session_or_a_word(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_users(session, 2)
        rate(session, "q", 1, 5)
        rate(session, "q", 2, 4)
        session.execute(
            sa.text("UPDATE users SET display_name = 'Quarksdottir', login = 'quark@hospital' WHERE id = 1")
        )
    lines = prometheus.render(engine).decode().lower().splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) > 10
    for word in ("quark", "4471182", "session", "clinician", "fb_"):
        assert not [line for line in samples if word in line]
