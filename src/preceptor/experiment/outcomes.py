"""Assignments, exposures and judgements of one experiment in, one bounded number per clinician out.

A clinician enters the tests once, when a fixed window from the first exposure closes, in order of first exposure.
Reading a growing mean again and again, or closing early for those who rate much, would let the order leak the outcome.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from preceptor.experiment.assign import TREATMENT, Arm


@dataclass(frozen=True)
class AssignedUnit:
    """A clinician's stored arm."""

    unit: str
    arm: Arm
    at: datetime


@dataclass(frozen=True)
class ShownAnswer:
    """An answer of `arm` was shown to a clinician."""

    unit: str
    arm: str
    interaction_id: str | None
    at: datetime


@dataclass(frozen=True)
class Judgement:
    """What a clinician said of one answer: stars (1-5) or none, harm severity (0-3) or none."""

    unit: str
    interaction_id: str
    rating: int | None
    harm_severity: int | None
    confirmed: bool
    at: datetime


@dataclass(frozen=True)
class Duel:
    """A clinician compared both arms' answers to one prompt: 1 treatment better, 0 control, 0.5 neither."""

    unit: str
    prompt: str
    interactions: tuple[str, str]
    treatment_score: float
    at: datetime


@dataclass(frozen=True)
class Records:
    """Everything the database knows about one experiment that may decide it."""

    assigned: Sequence[AssignedUnit] = ()
    shown: Sequence[ShownAnswer] = ()
    judgements: Sequence[Judgement] = ()
    duels: Sequence[Duel] = ()


@dataclass(frozen=True)
class Unit:
    """One exposed clinician. `satisfaction` is None without a rating in the window."""

    unit: str
    arm: Arm
    assigned_at: datetime
    exposed_at: datetime
    is_closed: bool
    satisfaction: float | None
    ratings: int
    first_flag: datetime | None
    confirmed_critical: bool
    first_rating: datetime | None


@dataclass(frozen=True)
class Outcomes:
    """Units in order of first exposure, duels of closed clinicians, and exposures to the wrong arm."""

    units: list[Unit] = field(default_factory=list)
    duels: list[Duel] = field(default_factory=list)
    exposures: int = 0
    crossovers: int = 0

    def closed(self, arm: Arm) -> list[Unit]:
        return [unit for unit in self.units if unit.arm == arm and unit.is_closed]

    def satisfactions(self, arm: Arm) -> list[float]:
        return [unit.satisfaction for unit in self.closed(arm) if unit.satisfaction is not None]


def outcomes_by_unit(
    records: Records, *, now: datetime, window: timedelta, ratings_per_unit: int, harm_level: int, final: bool
) -> Outcomes:
    """Reduce the records to one row a clinician, analyzed as assigned.

    A judgement counts when the answer it is about was shown to that clinician, after the first exposure and inside
    the window, and was no part of a duel. With `final`, every window counts as closed.
    """
    arms = {unit.unit: unit for unit in records.assigned}
    first_seen: dict[str, datetime] = {}
    seen_answers: dict[str, set[str]] = defaultdict(set)
    crossovers = 0
    for shown in sorted(records.shown, key=lambda row: row.at):
        assigned = arms.get(shown.unit)
        if assigned is None or assigned.arm != shown.arm:
            crossovers += 1
        if assigned is not None:
            first_seen.setdefault(shown.unit, shown.at)
            if shown.interaction_id is not None:
                seen_answers[shown.unit].add(shown.interaction_id)
    in_duels = {interaction for duel in records.duels for interaction in duel.interactions}
    judged: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in sorted(records.judgements, key=lambda row: row.at):
        start = first_seen.get(judgement.unit)
        if (
            start is not None
            and start <= judgement.at <= start + window
            and judgement.interaction_id in seen_answers[judgement.unit]
            and judgement.interaction_id not in in_duels
        ):
            judged[judgement.unit].append(judgement)
    units = [
        _reduce(
            arms[name], at, judged[name], now=now, window=window, limit=ratings_per_unit, level=harm_level, final=final
        )
        for name, at in sorted(first_seen.items(), key=lambda item: (item[1], item[0]))
    ]
    duels = closed_duels(records.duels, now=now, window=window, final=final)
    return Outcomes(units, duels, len(records.shown), crossovers)


def _reduce(
    assigned: AssignedUnit,
    exposed_at: datetime,
    judgements: list[Judgement],
    *,
    now: datetime,
    window: timedelta,
    limit: int,
    level: int,
    final: bool,
) -> Unit:
    rated = [j for j in judgements if j.rating is not None][:limit]
    flags = [j for j in judgements if (j.harm_severity or 0) >= level]
    stars = [(j.rating - 1) / 4 for j in rated if j.rating is not None]
    return Unit(
        unit=assigned.unit,
        arm=assigned.arm,
        assigned_at=assigned.at,
        exposed_at=exposed_at,
        is_closed=final or now >= exposed_at + window,
        satisfaction=sum(stars) / len(stars) if stars else None,
        ratings=len(rated),
        first_flag=flags[0].at if flags else None,
        confirmed_critical=any(j.confirmed and j.harm_severity == 3 for j in judgements),
        first_rating=rated[0].at if rated else None,
    )


def closed_duels(duels: Sequence[Duel], *, now: datetime, window: timedelta, final: bool) -> list[Duel]:
    """The duels that count, in order, clinician after clinician by their first duel.

    As with ratings, a clinician enters once: when the window from the first duel closes, or at the end.
    """
    first: dict[str, datetime] = {}
    for duel in sorted(duels, key=lambda row: (row.at, row.unit)):
        first.setdefault(duel.unit, duel.at)
    counted = [
        duel for duel in duels if duel.at <= first[duel.unit] + window and (final or now >= first[duel.unit] + window)
    ]
    return sorted(counted, key=lambda duel: (first[duel.unit], duel.unit, duel.at, duel.prompt))


def flag_shares(units: Sequence[Unit], assigned: Sequence[AssignedUnit]) -> tuple[list[bool], list[float]]:
    """First flags in order of time: whether each came from treatment, and the chance that it would under no effect.

    The chance is treatment's share of those who were assigned by then and had not flagged: under no effect the next
    to flag is any of them alike, in blocks and small samples too. A flag with only one arm left to come from says
    nothing and is left out.
    """
    flagged = sorted((unit for unit in units if unit.first_flag is not None), key=lambda u: (u.first_flag, u.unit))
    from_treatment: list[bool] = []
    shares: list[float] = []
    done: set[str] = set()
    for unit in flagged:
        at_risk = [
            a for a in assigned if unit.first_flag is not None and a.at <= unit.first_flag and a.unit not in done
        ]
        share = sum(a.arm == TREATMENT for a in at_risk) / max(1, len(at_risk))
        if 0 < share < 1:
            from_treatment.append(unit.arm == TREATMENT)
            shares.append(share)
        done.add(unit.unit)
    return from_treatment, shares
