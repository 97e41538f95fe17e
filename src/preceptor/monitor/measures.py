"""What the monitor measures: the shapes that pages, Prometheus and alerts read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

from preceptor.stats.intervals import Interval


@dataclass(frozen=True)
class DayVolume:
    """Judgements that came in on one day."""

    day: date
    feedback: int
    preferences: int


@dataclass(frozen=True)
class FeedbackVolume:
    """Judgements per day, oldest first, days without any included; the totals are over all time."""

    days: list[DayVolume]
    feedback: int
    preferences: int
    simulated: int
    clinicians: int


@dataclass(frozen=True)
class RatingDistribution:
    """How often each star count and thumb was given; `mean` is in stars, its interval resamples clinicians."""

    stars: dict[int, int]
    thumbs_up: int
    thumbs_down: int
    mean: Interval

    @property
    def n(self) -> int:
        return sum(self.stars.values())


@dataclass(frozen=True)
class Agreement:
    """Agreement on items that two or more clinicians judged; `n` of each interval counts those items."""

    instrument: str
    items: int
    judgements: int
    percent: Interval
    alpha: Interval
    ac: Interval


@dataclass(frozen=True)
class AgreementRate:
    """Stars (ordinal alpha, AC2 with quadratic weights) and comparisons (nominal alpha, AC1)."""

    stars: Agreement
    comparisons: Agreement


@dataclass(frozen=True)
class RewardAccuracy:
    """Held-out accuracy of the newest reward model, beside what answer length alone reaches."""

    run_id: str
    accuracy: Interval
    length_only: float | None
    ended_at: datetime | None


@dataclass(frozen=True)
class PolicyImprovement:
    """The newest evaluated policy against its baseline: win rate and KL together, never a reward alone."""

    run_id: str
    win_rate: Interval
    kl: float | None
    ended_at: datetime | None


@dataclass(frozen=True)
class LoopMetrics:
    """The five numbers; the last two are None until a run has measured them."""

    volume: FeedbackVolume
    ratings: RatingDistribution
    agreement: AgreementRate
    reward: RewardAccuracy | None
    policy: PolicyImprovement | None
    agents: list[str] = field(default_factory=list)
