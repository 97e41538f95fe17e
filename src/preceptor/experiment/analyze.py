"""Evidence and a policy in, one verdict with its written reason out; insufficient data never counts as success."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from preceptor.experiment.config import DecisionPolicy
from preceptor.experiment.evidence import Evidence, gather_evidence
from preceptor.experiment.outcomes import Records, outcomes_by_unit

Verdict = Literal["roll_back", "pause", "promote", "inconclusive", "continue"]
Status = Literal["passed", "failed", "insufficient data"]

# An alarm about the split freezes a decision and nothing else, so it asks for stronger evidence than alpha.
SAMPLE_RATIO_LOG_ALARM = math.log(1000)
HARM_TESTS = {
    "harm_satisfaction": "satisfaction is lower",
    "harm_safety_flags": "unsafe answers are flagged more often",
    "harm_duels": "blinded comparisons are lost",
}


@dataclass(frozen=True)
class Check:
    """One question that was asked of the evidence, and its answer in words."""

    name: str
    status: Status
    reason: str


@dataclass(frozen=True)
class Decision:
    """What to do with the treatment, why, and everything it rests on."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]
    evidence: Evidence


def analyze(records: Records, *, policy: DecisionPolicy, now: datetime, final: bool) -> Decision:
    """Decide on one experiment.

    Any harm test that reaches 1/alpha rolls back; a broken experiment pauses; promotion is recommended when
    non-inferiority is certified on satisfaction and safety and superiority is shown, or, at the end of a small
    sample, by the duels policy. Rolling back wrongly has probability at most three alpha (three harm tests).
    """
    outcomes = outcomes_by_unit(
        records,
        now=now,
        window=timedelta(days=policy.window_days),
        ratings_per_unit=policy.ratings_per_unit,
        harm_level=policy.harm_level,
        final=final,
    )
    evidence = gather_evidence(records, outcomes, policy=policy)
    harm, validity = _harm_checks(evidence, policy), _validity_checks(evidence, policy)
    certificates = _certificates(evidence, policy)
    checks = (*harm, *validity, *certificates)
    if failed := _failed(harm):
        return Decision("roll_back", f"The new release goes back: {failed}", checks, evidence)
    if failed := _failed(validity):
        if final:
            reason = f"The baseline stays, because the comparison cannot be trusted: {failed}"
            return Decision("inconclusive", reason, checks, evidence)
        reason = f"The comparison cannot be trusted until a person has looked: {failed}"
        return Decision("pause", reason, checks, evidence)
    if all(check.status == "passed" for check in certificates):
        reason = "Promotion is recommended: " + " ".join(check.reason for check in certificates)
        return Decision("promote", reason, checks, evidence)
    missing = " ".join(check.reason for check in certificates if check.status != "passed")
    if not final:
        return Decision("continue", f"Not enough evidence yet, so the experiment goes on. {missing}", checks, evidence)
    fewest = min(evidence.control.rated, evidence.treatment.rated)
    if fewest >= policy.minimum_units or policy.small_sample == "refuse":
        return Decision("inconclusive", f"The baseline stays. {missing}", checks, evidence)
    small = _small_sample_checks(evidence, policy)
    checks = (*checks, *small)
    if all(check.status == "passed" for check in small):
        reason = (
            f"Promotion is recommended by the small-sample policy. {fewest} clinicians in the smaller arm cannot "
            "certify non-inferiority, so this rests on a fixed sample read once. "
            + " ".join(check.reason for check in small)
        )
        return Decision("promote", reason, checks, evidence)
    failed = " ".join(f"{check.status.capitalize()}: {check.reason}" for check in small if check.status != "passed")
    return Decision("inconclusive", f"The baseline stays. {failed}", checks, evidence)


def _harm_checks(evidence: Evidence, policy: DecisionPolicy) -> list[Check]:
    alarm = math.log(1 / policy.alpha)
    checks = []
    for name, words in HARM_TESTS.items():
        value = evidence.log_evidence[name]
        seen = f"evidence that {words} on the new release is {_odds(value)}, alarm at {_odds(alarm)}."
        checks.append(Check(name, "failed" if value >= alarm else "passed", seen))
    return checks


def _validity_checks(evidence: Evidence, policy: DecisionPolicy) -> list[Check]:
    checks = []
    for name in ("sample_ratio_assigned", "sample_ratio_exposed", "sample_ratio_rated"):
        value = evidence.log_evidence[name]
        seen = (
            f"evidence that clinicians {name.rpartition('_')[2]} are not split half and half is {_odds(value)}, "
            f"alarm at {_odds(SAMPLE_RATIO_LOG_ALARM)}."
        )
        checks.append(Check(name, "failed" if value >= SAMPLE_RATIO_LOG_ALARM else "passed", seen))
    share = evidence.crossover_share
    words = f"{share:.1%} of exposures went to the wrong arm, limit {policy.crossover_limit:.1%}."
    checks.append(Check("crossover", "failed" if share > policy.crossover_limit else "passed", words))
    critical = evidence.confirmed_critical
    words = f"{critical} clinicians on the new release met an answer of critical harm that a reviewer confirmed."
    checks.append(Check("confirmed_critical_harm", "failed" if critical else "passed", words))
    return checks


def _certificates(evidence: Evidence, policy: DecisionPolicy) -> list[Check]:
    needed = math.log(1 / policy.alpha)
    rated, closed = (
        min(evidence.control.rated, evidence.treatment.rated),
        min(evidence.control.exposed, evidence.treatment.exposed),
    )
    checks = []
    for name, what, margin, pairs in (
        ("non_inferiority_satisfaction", "satisfaction", policy.margin, rated),
        ("non_inferiority_safety", "safety flags", policy.safety_margin, closed),
    ):
        value = evidence.log_evidence[name]
        words = (
            f"Non-inferiority on {what} within {margin:g}: evidence {_odds(value)} from {pairs} pairs of clinicians, "
            f"needed {_odds(needed)}."
        )
        checks.append(Check(name, "passed" if value >= needed else "insufficient data", words))
    sequence = evidence.sequence
    duels = evidence.log_evidence["superiority_duels"]
    shown = (sequence is not None and sequence.low > 0) or duels >= needed
    words = (
        "Superiority: "
        + (
            f"always-valid interval {sequence.low:+.3f} to {sequence.high:+.3f}"
            if sequence is not None
            else f"no always-valid interval below {policy.minimum_units} clinicians an arm"
        )
        + f"; duels {_odds(duels)}, needed {_odds(needed)}."
    )
    checks.append(Check("superiority", "passed" if shown else "insufficient data", words))
    return checks


def _small_sample_checks(evidence: Evidence, policy: DecisionPolicy) -> list[Check]:
    duels, rate = evidence.duels, evidence.duels.win_rate
    counted = f"{duels.clinicians} clinicians, {duels.duels} blinded duels on {duels.prompts} prompts"
    if duels.clinicians < policy.minimum_duelists:
        preferred = Check(
            "duels", "insufficient data", f"{counted}; the policy needs {policy.minimum_duelists} clinicians."
        )
    else:
        words = f"{counted}: win rate {rate.estimate:.2f} ({rate.low:.2f} to {rate.high:.2f}), needed above 0.5."
        preferred = Check("duels", "passed" if rate.low > 0.5 else "failed", words)
    difference = evidence.satisfaction_difference
    if not math.isfinite(difference.low):
        satisfied = Check(
            "no_loss_of_satisfaction",
            "insufficient data",
            f"{evidence.control.rated} and {evidence.treatment.rated} clinicians with ratings; two an arm are needed.",
        )
    else:
        words = (
            f"Satisfaction, new minus old: {difference.estimate:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"
            f", {evidence.treatment.rated} and {evidence.control.rated} clinicians; it must not lie below 0."
        )
        satisfied = Check("no_loss_of_satisfaction", "failed" if difference.high < 0 else "passed", words)
    flags = evidence.flag_difference
    words = (
        f"Clinicians who flagged an unsafe answer, new minus old: {flags.estimate:+.2f} "
        f"({flags.low:+.2f} to {flags.high:+.2f}); it must not lie above 0."
    )
    if math.isnan(flags.estimate):
        safe = Check("no_rise_in_flags", "insufficient data", "An arm has no exposed clinician.")
    else:
        safe = Check("no_rise_in_flags", "failed" if flags.low > 0 else "passed", words)
    return [preferred, satisfied, safe]


def _failed(checks: list[Check]) -> str:
    return " ".join(check.reason for check in checks if check.status == "failed")


def _odds(log_evidence: float) -> str:
    """A log e-value as a person reads it: 20:1."""
    value = math.exp(min(log_evidence, 700.0))
    return f"{value:.3g}:1" if value < 1e6 else "over a million to 1"
