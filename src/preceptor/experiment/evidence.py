"""Outcomes by clinician in, every estimate and log e-value that a decision may rest on out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from preceptor.experiment.assign import CONTROL, TREATMENT, Arm
from preceptor.experiment.config import DecisionPolicy
from preceptor.experiment.outcomes import Duel, Outcomes, Records, flag_shares
from preceptor.stats.intervals import (
    Interval,
    crossed_mean,
    newcombe_difference,
    student_mean,
    welch_difference,
    wilson,
)
from preceptor.stats.sequential import (
    ConfidenceSequence,
    betting_process,
    difference_sequence,
    duel_log_evidence,
    harm_process,
    non_inferiority_process,
    peak,
    safety_flag_process,
    sample_ratio_process,
)


@dataclass(frozen=True)
class ArmSummary:
    """One arm: clinicians assigned, exposed and with ratings; mean satisfaction (0-1) and share who flagged."""

    arm: Arm
    assigned: int
    exposed: int
    rated: int
    ratings: int
    satisfaction: Interval
    flagged: Interval


@dataclass(frozen=True)
class DuelSummary:
    """Blinded comparisons. `win_rate` is the mean of clinicians' means, so a busy clinician weighs no more; its
    interval allows for clinicians and prompts both being samples.
    """

    clinicians: int
    prompts: int
    duels: int
    wins: int
    losses: int
    undecided: int
    win_rate: Interval


@dataclass(frozen=True)
class Evidence:
    """What was measured. Differences are treatment minus control; `log_evidence` holds natural logarithms."""

    control: ArmSummary
    treatment: ArmSummary
    satisfaction_difference: Interval
    flag_difference: Interval
    sequence: ConfidenceSequence | None
    duels: DuelSummary
    crossover_share: float
    confirmed_critical: int
    log_evidence: dict[str, float]


def gather_evidence(records: Records, outcomes: Outcomes, *, policy: DecisionPolicy) -> Evidence:
    """Compute every number from the records and the clinicians' outcomes.

    Harm is read at its peak over all looks; certificates are, too: once reached, they stand (Ville's inequality).
    """
    control, treatment = outcomes.satisfactions(CONTROL), outcomes.satisfactions(TREATMENT)
    pairs = min(len(control), len(treatment))
    unflagged = {arm: [float(u.first_flag is None) for u in outcomes.closed(arm)] for arm in (CONTROL, TREATMENT)}
    closed_pairs = min(len(unflagged[CONTROL]), len(unflagged[TREATMENT]))
    from_treatment, shares = flag_shares(outcomes.units, records.assigned)
    duels = outcomes.duels
    wins, losses = sum(d.treatment_score == 1 for d in duels), sum(d.treatment_score == 0 for d in duels)
    rated = [(u.first_rating, u.unit, u.arm) for u in outcomes.units if u.first_rating is not None]
    log_evidence = {
        "harm_satisfaction": peak(harm_process(control[:pairs], treatment[:pairs])),
        "harm_safety_flags": peak(safety_flag_process(from_treatment, shares)),
        "harm_duels": _duel_evidence(duels, sign=-1.0),
        "non_inferiority_satisfaction": peak(
            non_inferiority_process(control[:pairs], treatment[:pairs], margin=policy.margin)
        ),
        "non_inferiority_safety": peak(
            non_inferiority_process(
                unflagged[CONTROL][:closed_pairs], unflagged[TREATMENT][:closed_pairs], margin=policy.safety_margin
            )
        ),
        "superiority_duels": min(
            _duel_evidence(duels, sign=1.0), duel_log_evidence(wins, wins + losses) if wins > losses else 0.0
        ),
        "sample_ratio_assigned": _ratio([a.arm for a in sorted(records.assigned, key=lambda a: (a.at, a.unit))]),
        "sample_ratio_exposed": _ratio([u.arm for u in outcomes.units]),
        "sample_ratio_rated": _ratio([arm for _, _, arm in sorted(rated)]),
    }
    enough = min(len(control), len(treatment)) >= policy.minimum_units
    arms = {arm: _summary(arm, records, outcomes) for arm in (CONTROL, TREATMENT)}
    flagged = {arm: (sum(1 for x in unflagged[arm] if not x), len(unflagged[arm])) for arm in (CONTROL, TREATMENT)}
    return Evidence(
        control=arms[CONTROL],
        treatment=arms[TREATMENT],
        satisfaction_difference=welch_difference(treatment, control),
        flag_difference=newcombe_difference(*flagged[TREATMENT], *flagged[CONTROL]),
        sequence=difference_sequence(treatment, control, planned_units=policy.planned_units / 2, alpha=policy.alpha)
        if enough
        else None,
        duels=DuelSummary(
            clinicians=len({d.unit for d in duels}),
            prompts=len({d.prompt for d in duels}),
            duels=len(duels),
            wins=wins,
            losses=losses,
            undecided=len(duels) - wins - losses,
            win_rate=_share(
                crossed_mean([d.treatment_score for d in duels], [d.unit for d in duels], [d.prompt for d in duels])
            ),
        ),
        crossover_share=outcomes.crossovers / outcomes.exposures if outcomes.exposures else 0.0,
        confirmed_critical=sum(u.confirmed_critical for u in outcomes.units if u.arm == TREATMENT),
        log_evidence=log_evidence,
    )


def _summary(arm: Arm, records: Records, outcomes: Outcomes) -> ArmSummary:
    units = [unit for unit in outcomes.units if unit.arm == arm]
    flagged = sum(unit.first_flag is not None for unit in units)
    return ArmSummary(
        arm=arm,
        assigned=sum(assigned.arm == arm for assigned in records.assigned),
        exposed=len(units),
        rated=sum(unit.satisfaction is not None for unit in units),
        ratings=sum(unit.ratings for unit in units),
        satisfaction=_share(student_mean(outcomes.satisfactions(arm))),
        flagged=wilson(flagged, len(units)),
    )


def _duel_evidence(duels: Sequence[Duel], *, sign: float) -> float:
    """Log evidence that treatment wins (sign 1) or loses (-1), the weaker of two ways to count.

    Clinicians who judge the same few prompts agree for that reason alone: with 100 clinicians on 30 shared prompts,
    clinicians' means alone allege a difference 18 % of the time at a nominal 5 %. So prompts' means must show it too.
    """
    sides = []
    for names in ([duel.unit for duel in duels], [duel.prompt for duel in duels]):
        groups: dict[str, list[float]] = {}
        for name, duel in zip(names, duels, strict=True):
            groups.setdefault(name, []).append(sign * (duel.treatment_score - 0.5))
        sides.append(peak(betting_process([sum(g) / len(g) for g in groups.values()], largest_bet=1.0)))
    return min(sides)


def _share(interval: Interval) -> Interval:
    """A mean of numbers in [0, 1] lies there, whatever Student's t says about few of them."""
    if math.isnan(interval.estimate):
        return Interval(interval.estimate, 0.0, 1.0, interval.n, interval.level, interval.method)
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Interval(interval.estimate, low, high, interval.n, interval.level, interval.method)


def _ratio(arms: Sequence[str]) -> float:
    return peak(sample_ratio_process([float(arm == TREATMENT) for arm in arms]))
