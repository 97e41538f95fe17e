"""Experiments on real PostgreSQL: sticky arms under concurrency, exposures, decisions that are made once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import Alias, Experiment, ExperimentAssignment, Exposure, Release
from preceptor.errors import ConflictError, InputError, NotFoundError
from preceptor.experiment import store as experiments
from preceptor.experiment.assign import CONTROL, TREATMENT
from preceptor.experiment.config import DecisionPolicy, ExperimentConfig
from preceptor.experiment.records import load_records, records_digest
from preceptor.experiment.run import decide, run
from preceptor.settings import Settings
from preceptor.stage import StageContext

KEY = b"k" * 32
AGENT = "prescription_agent"


def add_releases(session: Session, agent: str = AGENT) -> None:
    for version, alias in enumerate(("active", "candidate")):
        release_id = f"{agent}-v{version}"
        session.add(
            Release(
                release_id=release_id, agent_name=agent, version=version, model="m", digest=f"d{version}", state=alias
            )
        )
        session.flush()
        session.add(Alias(agent_name=agent, alias=alias, release_id=release_id, generation=1))


def start(engine: sa.Engine, **options: object) -> str:
    with session_scope(engine) as session:
        add_releases(session)
        # type: ignore[arg-type]
        return experiments.start_from_aliases(session, agent_name=AGENT, **options).experiment_id


def assign(engine: sa.Engine, clinician_id: int, stratum: str | None = None) -> experiments.Assigned:
    with session_scope(engine) as session:
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        return experiments.assign(session, experiment, clinician_id=clinician_id, key=KEY, stratum=stratum)


def add_clinicians(session: Session, count: int) -> None:
    session.execute(
        sa.text("INSERT INTO users (id, login, is_simulated) SELECT n, 'c' || n, n <= 3 FROM generate_series(1, :n) n"),
        {"n": count},
    )


def collect(engine: sa.Engine, *, clinicians: int, seed: int, treatment: float = 0.8, duels: int = 8) -> None:
    """A panel meets its arms, rates four answers each and fights duels; `treatment` is the better arm's quality."""
    rng = np.random.default_rng(seed)
    with session_scope(engine) as session:
        add_clinicians(session, clinicians)
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        for clinician in range(1, clinicians + 1):
            given = experiments.assign(session, experiment, clinician_id=clinician, key=KEY)
            assert given.arm is not None
            for turn in range(4):
                name = f"i{clinician}-{turn}"
                add_interaction(session, name, given.arm, experiment.experiment_id)
                experiments.log_exposure(
                    session,
                    experiment_id=experiment.experiment_id,
                    unit=given.unit,
                    arm=given.arm,
                    interaction_id=name,
                )
                quality = treatment if given.arm == TREATMENT else 0.5
                add_rating(session, name, clinician, 1 + int(rng.binomial(4, quality)))
            for turn in range(duels):
                wins = bool(rng.random() < treatment)
                add_duel(session, f"d{clinician}-{turn}", clinician, experiment.experiment_id, "a" if wins else "b")


def add_interaction(session: Session, name: str, arm: str, experiment_id: str) -> None:
    session.execute(
        sa.text(
            "INSERT INTO interactions (interaction_id, session_id, agent_name, prompt, response, content_hash, "
            "prompt_hash, experiment_id, arm) "
            "VALUES (:i, 's', :a, 'p', 'r', repeat('0', 64), repeat('0', 64), :e, :arm)"
        ),
        {"i": name, "a": AGENT, "e": experiment_id, "arm": arm},
    )


def add_rating(session: Session, interaction: str, clinician: int, rating: int, harm: int = 0) -> None:
    session.execute(
        sa.text(
            "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating, "
            "clinician_id, interaction_id, instrument, harm_severity, timestamp) "
            "VALUES (:f, 's', :a, 'p', 'r', :rating, :c, :i, 'stars', :harm, clock_timestamp())"
        ),
        {
            "f": f"f-{interaction}-{clinician}",
            "a": AGENT,
            "rating": rating,
            "c": clinician,
            "i": interaction,
            "harm": harm,
        },
    )


def add_duel(session: Session, name: str, clinician: int, experiment_id: str, outcome: str) -> None:
    session.execute(
        sa.text(
            "INSERT INTO rlhf_preferences (preference_id, prompt, response_a, response_b, preferred, outcome, "
            "clinician_id, experiment_id, arm_a, arm_b, agent_name) "
            "VALUES (:p, :q, 'x', 'y', CAST(:o AS CHAR(1)), CAST(:o AS VARCHAR), :c, :e, 'treatment', 'control', :a)"
        ),
        {
            "p": name,
            "q": f"prompt {name.partition('-')[2]} {clinician % 5}",
            "o": outcome,
            "c": clinician,
            "e": experiment_id,
            "a": AGENT,
        },
    )


@pytest.fixture
def context(settings: Settings, engine: sa.Engine, store: ArtifactStore) -> StageContext:
    return StageContext(settings=settings, engine=engine, store=store)


def test_a_clinician_keeps_the_first_arm(engine: sa.Engine) -> None:
    start(engine)
    first = assign(engine, 7)
    again = assign(engine, 7)
    assert first.is_new
    assert not again.is_new
    assert (first.arm, first.release_id) == (again.arm, again.release_id)


def test_the_stored_arm_wins_over_the_rule(engine: sa.Engine) -> None:
    start(engine, allocation="hash")
    arm = assign(engine, 7).arm
    other = CONTROL if arm == TREATMENT else TREATMENT
    with session_scope(engine) as session:
        session.execute(sa.update(ExperimentAssignment).values(arm=other))
    assert assign(engine, 7).arm == other


def test_simultaneous_requests_get_one_arm_and_balanced_blocks(engine: sa.Engine) -> None:
    experiment_id = start(engine)
    seen: list[tuple[int, str | None]] = []
    failures: list[Exception] = []

    def ask(clinician: int) -> None:
        try:
            seen.append((clinician, assign(engine, clinician).arm))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(clinician % 12,)) for clinician in range(36)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(seen)) == 12
    with session_scope(engine) as session:
        rows = session.scalars(
            sa.select(ExperimentAssignment.arm).where(ExperimentAssignment.experiment_id == experiment_id)
        ).all()
    assert len(rows) == 12
    counted = Counter(rows)
    assert abs(counted[CONTROL] - counted[TREATMENT]) <= 3


def test_strata_are_balanced_each_on_its_own(engine: sa.Engine) -> None:
    start(engine)
    arms = [assign(engine, number, stratum="cardiology" if number < 12 else "oncology").arm for number in range(24)]
    for part in (arms[:12], arms[12:]):
        assert abs(part.count(CONTROL) - part.count(TREATMENT)) <= 3


def test_no_row_names_the_clinician_by_anything_but_id_and_pseudonym(engine: sa.Engine) -> None:
    start(engine)
    given = assign(engine, 7)
    assert len(given.unit) == 32
    with session_scope(engine) as session:
        assert session.scalars(sa.select(ExperimentAssignment.unit)).one() == given.unit


def test_a_paused_or_ended_experiment_serves_the_baseline_and_takes_nobody_in(engine: sa.Engine) -> None:
    start(engine)
    known = next(number for number in range(20) if assign(engine, number).arm == TREATMENT)
    with session_scope(engine) as session:
        session.execute(sa.update(Experiment).values(state="paused"))
    for clinician in (known, 999):
        given = assign(engine, clinician)
        assert given.arm is None
        assert given.release_id == f"{AGENT}-v0"
    with session_scope(engine) as session:
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        experiments.resume(session, experiment)
    assert assign(engine, known).arm == TREATMENT


def test_one_agent_has_one_open_experiment(engine: sa.Engine) -> None:
    start(engine)
    with pytest.raises(ConflictError, match="already has an open experiment"), session_scope(engine) as session:
        experiments.start_from_aliases(session, agent_name=AGENT)


def test_an_experiment_needs_two_releases_of_the_agent(engine: sa.Engine) -> None:
    with session_scope(engine) as session:
        add_releases(session)
        with pytest.raises(InputError, match="needs two releases"):
            experiments.create_experiment(
                session, agent_name=AGENT, control_release_id=f"{AGENT}-v0", treatment_release_id=f"{AGENT}-v0"
            )
        with pytest.raises(InputError, match="'other-v9' is not a release"):
            experiments.create_experiment(
                session, agent_name=AGENT, control_release_id=f"{AGENT}-v0", treatment_release_id="other-v9"
            )


def test_without_a_candidate_there_is_nothing_to_start(context: StageContext) -> None:
    with pytest.raises(NotFoundError, match="no active release"):
        run(ExperimentConfig(agent_name="nobody"), context)
    with pytest.raises(NotFoundError, match="no open experiment"):
        run(ExperimentConfig(agent_name="nobody", action="analyze"), context)


def test_an_exposure_to_the_other_arm_is_a_crossover(engine: sa.Engine) -> None:
    experiment_id = start(engine)
    given = assign(engine, 1)
    assert given.arm is not None
    other = CONTROL if given.arm == TREATMENT else TREATMENT
    with session_scope(engine) as session:
        assert not experiments.log_exposure(session, experiment_id=experiment_id, unit=given.unit, arm=given.arm)
        assert experiments.log_exposure(session, experiment_id=experiment_id, unit=given.unit, arm=other)
        assert session.scalar(sa.select(sa.func.count()).select_from(Exposure)) == 2


def test_coverage_only_rises(engine: sa.Engine) -> None:
    start(engine, coverage=0.3)
    inside = {number for number in range(100) if assign(engine, number).arm is not None}
    with session_scope(engine) as session:
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        with pytest.raises(InputError, match="rise"):
            experiments.raise_coverage(session, experiment, 0.1)
        experiments.raise_coverage(session, experiment, 0.8)
    wider = {number for number in range(100) if assign(engine, number).arm is not None}
    assert inside < wider
    assert len(inside) == pytest.approx(30, abs=15)


def test_a_round_of_the_stage_starts_then_decides_once(engine: sa.Engine, context: StageContext) -> None:
    with session_scope(engine) as session:
        add_releases(session)
    started = run(ExperimentConfig(agent_name=AGENT), context)
    assert started.metrics["verdict"] == "started"
    collect(engine, clinicians=14, seed=1)
    running = run(ExperimentConfig(agent_name=AGENT), context)
    assert running.metrics["verdict"] == "continue"
    final = run(ExperimentConfig(agent_name=AGENT, final=True), context)
    assert final.metrics["verdict"] == "promote"
    assert final.metrics["clinicians/simulated"] == 3
    assert final.metrics["duels/n"] == 112
    assert final.metrics["duels/win_rate_low"] > 0.5
    experiment_id = final.metrics["experiment_id"]
    with session_scope(engine) as session:
        stored = experiments.find_experiment(session, experiment_id)
        assert stored.state == "promoted"
        assert stored.ended_at is not None
        assert stored.decision["reason"] == final.summary
        json.dumps(stored.decision, allow_nan=False)
        digest = records_digest(load_records(session, experiment_id), policy=DecisionPolicy(), final=True)
        assert stored.decision["inputs_sha256"] == digest
        session.execute(sa.text("UPDATE rlhf_feedback SET rating = 1"))
    again = run(ExperimentConfig(agent_name=AGENT, experiment_id=experiment_id, action="analyze", final=True), context)
    assert again.summary == final.summary


def test_an_experiment_without_judgements_is_inconclusive_at_the_end(engine: sa.Engine, context: StageContext) -> None:
    start(engine)
    result = run(ExperimentConfig(agent_name=AGENT, final=True), context)
    assert result.metrics["verdict"] == "inconclusive"
    assert "Insufficient data" in result.summary


def test_withdrawn_and_rejected_judgements_do_not_decide(engine: sa.Engine) -> None:
    experiment_id = start(engine)
    collect(engine, clinicians=6, seed=2, duels=2)
    with session_scope(engine) as session:
        before = load_records(session, experiment_id)
        session.execute(sa.text("UPDATE rlhf_feedback SET withdrawn_at = now() WHERE clinician_id = 1"))
        session.execute(sa.text("UPDATE rlhf_preferences SET review_status = 'rejected' WHERE clinician_id = 2"))
    with session_scope(engine) as session:
        after = load_records(session, experiment_id)
    assert (len(before.judgements), len(before.duels)) == (24, 12)
    assert (len(after.judgements), len(after.duels)) == (20, 10)


def test_harm_rolls_back_and_the_next_request_gets_the_baseline(engine: sa.Engine) -> None:
    start(engine)
    collect(engine, clinicians=40, seed=3, treatment=0.1, duels=6)
    with session_scope(engine) as session:
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        decision = decide(session, experiment, final=False, now=datetime.now(UTC) + timedelta(days=30))
        assert decision["verdict"] == "roll_back"
        assert experiment.state == "rolled_back"
        given = experiments.assign(session, experiment, clinician_id=1, key=KEY)
        assert given.release_id == f"{AGENT}-v0"
        assert experiments.open_experiment(session, AGENT) is None


def test_a_paused_experiment_is_not_promoted_until_a_person_resumes_it(engine: sa.Engine) -> None:
    start(engine)
    collect(engine, clinicians=14, seed=1)
    now = datetime.now(UTC)
    with session_scope(engine) as session:
        experiment = experiments.open_experiment(session, AGENT)
        assert experiment is not None
        experiment.state = "paused"
        session.flush()
        assert decide(session, experiment, final=True, now=now)["verdict"] == "pause"
        assert experiment.state == "paused"
        experiments.resume(session, experiment)
        assert decide(session, experiment, final=True, now=now)["verdict"] == "promote"
