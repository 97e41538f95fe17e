"""The database at the moment of a scrape in, metrics in the Prometheus text format out.

Read at scrape, so that any number of server and worker processes agree. Labels are agents, arms, kinds and states:
never a clinician, a session or a word of text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import CuratedRecord, DatasetMember, judgements
from preceptor.db.tables.lineage import Run
from preceptor.db.tables.ops import Alert
from preceptor.db.tables.rollout import Alias, Experiment, Exposure, Release
from preceptor.monitor.measures import LoopMetrics
from preceptor.monitor.metrics import live_judgements, loop_metrics
from preceptor.stats.intervals import Interval

LATENCY_BUCKETS_MS = (250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
_SCRAPE_DRAWS = 500


class LoopCollector(Collector):
    """What a registry asks at every scrape."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not touch the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        with Session(self.engine) as session:
            yield from _judgement_counts(session)
            yield from _measures(session)
            yield from _rollout(session)
            yield from _generation(session)
            yield from _operation(session)


def render(engine: sa.Engine) -> bytes:
    """The body of a `/metrics` response."""
    registry = CollectorRegistry()
    registry.register(LoopCollector(engine))
    return generate_latest(registry)


def _judgement_counts(session: Session) -> Iterator[Metric]:
    columns = judgements.c
    feedback = CounterMetricFamily("rlhf_feedback", "Judgements that count.", labels=["agent", "kind"])
    agent = sa.func.coalesce(columns.agent_name, "")
    statement = sa.select(agent, columns.instrument, sa.func.count()).where(*live_judgements(None))
    for name, instrument, n in session.execute(statement.group_by(agent, columns.instrument)):
        feedback.add_metric([name, instrument], n)
    yield feedback

    stars = CounterMetricFamily("rlhf_rating", "Star ratings by number of stars.", labels=["stars"])
    statement = sa.select(columns.rating, sa.func.count()).where(*live_judgements(None), columns.instrument == "stars")
    counted = {row[0]: row[1] for row in session.execute(statement.group_by(columns.rating))}
    for number in (1, 2, 3, 4, 5):
        stars.add_metric([str(number)], counted.get(number, 0))
    yield stars

    flags = CounterMetricFamily(
        "rlhf_safety_flags", "Judgements that report harm.", labels=["agent", "severity", "arm"]
    )
    arm = sa.func.coalesce(columns.arm, "")
    statement = sa.select(agent, columns.harm_severity, arm, sa.func.count()).where(
        *live_judgements(None), columns.harm_severity > 0
    )
    for name, severity, side, n in session.execute(statement.group_by(agent, columns.harm_severity, arm)):
        flags.add_metric([name, str(severity), side], n)
    yield flags

    eligible = GaugeMetricFamily(
        "rlhf_feedback_eligible", "Cleared judgements that no dataset holds yet.", labels=["agent"]
    )
    member = sa.exists().where(
        DatasetMember.kind == CuratedRecord.kind, DatasetMember.source_id == CuratedRecord.source_id
    )
    owner = sa.func.coalesce(CuratedRecord.agent_name, "")
    statement = sa.select(owner, sa.func.count()).where(CuratedRecord.status == "clear", ~member).group_by(owner)
    for name, n in session.execute(statement):
        eligible.add_metric([name], n)
    yield eligible


def _measures(session: Session) -> Iterator[Metric]:
    measured: LoopMetrics = loop_metrics(session, days=1, draws=_SCRAPE_DRAWS)
    agreement = GaugeMetricFamily(
        "rlhf_rater_agreement_alpha",
        "Agreement between clinicians: raw share, Krippendorff's alpha and Gwet's AC.",
        labels=["agent", "instrument", "metric", "bound"],
    )
    for found in (measured.agreement.stars, measured.agreement.comparisons):
        for metric, interval in (("percent", found.percent), ("alpha", found.alpha), ("ac", found.ac)):
            _add_bounds(agreement, ["all", found.instrument, metric], interval)
    yield agreement

    accuracy = GaugeMetricFamily(
        "rlhf_rm_accuracy", "Held-out accuracy of the newest reward model.", labels=["split", "bound"]
    )
    if measured.reward is not None:
        _add_bounds(accuracy, ["test"], measured.reward.accuracy)
    yield accuracy

    rate = GaugeMetricFamily("rlhf_policy_winrate", "Win rate of the newest policy over baseline.", labels=["bound"])
    kl = GaugeMetricFamily("rlhf_policy_kl", "KL of the newest policy to its reference, in nats an answer.")
    if measured.policy is not None:
        _add_bounds(rate, [], measured.policy.win_rate)
        if measured.policy.kl is not None:
            kl.add_metric([], measured.policy.kl)
    yield rate
    yield kl


def _rollout(session: Session) -> Iterator[Metric]:
    exposures = CounterMetricFamily("rlhf_exposures", "Answers shown in experiments.", labels=["experiment", "arm"])
    statement = sa.select(Exposure.experiment_id, Exposure.arm, sa.func.count())
    for experiment_id, arm, n in session.execute(statement.group_by(Exposure.experiment_id, Exposure.arm)):
        exposures.add_metric([experiment_id, arm], n)
    yield exposures

    evidence = GaugeMetricFamily(
        "rlhf_evidence_log_e", "Log evidence of each test at the last look.", labels=["experiment", "test"]
    )
    newest = sa.select(sa.func.max(Experiment.id)).group_by(Experiment.agent_name)
    for found in session.scalars(sa.select(Experiment).where(Experiment.id.in_(newest))):
        tests = found.decision.get("evidence", {}).get("log_evidence", {})
        for test, value in sorted(tests.items()):
            evidence.add_metric([found.experiment_id, test], value)
    yield evidence

    generation = GaugeMetricFamily(
        "rlhf_alias_generation", "How often an alias of an agent has moved.", labels=["agent", "alias"]
    )
    for agent, alias, moved in session.execute(sa.select(Alias.agent_name, Alias.alias, Alias.generation)):
        generation.add_metric([agent, alias], moved)
    yield generation


def _generation(session: Session) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "rlhf_generation_seconds", "Time to answer in experiments, by release version.", labels=["model"]
    )
    version = sa.func.coalesce(sa.cast(Release.version, sa.String), "unknown")
    within = [sa.func.count().filter(Exposure.latency_ms <= edge) for edge in LATENCY_BUCKETS_MS]
    statement = (
        sa.select(version, sa.func.count(), sa.func.sum(Exposure.latency_ms), *within)
        .select_from(Exposure)
        .join(Experiment, Experiment.experiment_id == Exposure.experiment_id)
        .outerjoin(
            Release,
            sa.and_(Release.agent_name == Experiment.agent_name, Release.digest == Exposure.model_digest),
        )
        .where(Exposure.latency_ms.is_not(None))
        .group_by(version)
    )
    for row in session.execute(statement):
        edges = [(f"{edge / 1000:g}", float(n)) for edge, n in zip(LATENCY_BUCKETS_MS, row[3:], strict=True)]
        seconds.add_metric([row[0]], [*edges, ("+Inf", float(row[1]))], sum_value=float(row[2] or 0) / 1000)
    yield seconds


def _operation(session: Session) -> Iterator[Metric]:
    # a gauge in spite of its name: runs change their state, and old ones are swept
    runs = GaugeMetricFamily("rlhf_jobs_total", "Stage runs by kind and state.", labels=["kind", "state"])
    for stage, state, n in session.execute(
        sa.select(Run.stage, Run.state, sa.func.count()).group_by(Run.stage, Run.state)
    ):
        runs.add_metric([stage, state], n)
    yield runs

    age = GaugeMetricFamily(
        "rlhf_job_heartbeat_age_seconds", "Seconds since the quietest running run was heard.", labels=["kind"]
    )
    heard = sa.func.coalesce(Run.heartbeat_at, Run.started_at, Run.created_at)
    seconds = sa.func.extract("epoch", sa.func.now() - sa.func.min(heard))
    for stage, quiet in session.execute(
        sa.select(Run.stage, seconds).where(Run.state == "running").group_by(Run.stage)
    ):
        age.add_metric([stage], max(0.0, float(quiet)))
    yield age

    alerts = GaugeMetricFamily("rlhf_alerts_open", "Alerts nobody has resolved.", labels=["severity"])
    statement = sa.select(Alert.severity, sa.func.count()).where(Alert.resolved_at.is_(None)).group_by(Alert.severity)
    counted = {row[0]: row[1] for row in session.execute(statement)}
    for severity in ("info", "warning", "critical"):
        alerts.add_metric([severity], counted.get(severity, 0))
    yield alerts


def _add_bounds(gauge: GaugeMetricFamily, labels: list[str], interval: Interval) -> None:
    for bound, value in (("estimate", interval.estimate), ("low", interval.low), ("high", interval.high)):
        if math.isfinite(value) and math.isfinite(interval.estimate):
            gauge.add_metric([*labels, bound], value)
