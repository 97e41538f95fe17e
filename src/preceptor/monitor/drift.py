"""A reference and what came after it in; how far the mix or the ratings have moved out. No rows, no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats as scipy_stats

from preceptor.errors import InputError

Status = Literal["steady", "drifted", "insufficient data"]

# Customary: below 0.1 nothing moved, above 0.2 a person should look.
PSI_LIMIT = 0.2
MINIMUM_COUNT = 30


@dataclass(frozen=True)
class MixDrift:
    """Population stability index between two mixes, and the chance of as much if nothing had moved."""

    status: Status
    psi: float
    p_value: float
    reference: int
    recent: int


@dataclass(frozen=True)
class RatingDrift:
    """Evidence that mean satisfaction fell below the reference by more than the margin."""

    status: Status
    reference_mean: float
    recent_mean: float
    log_evidence: float
    log_alarm: float
    units: int


def mix_drift(reference: Mapping[str, int], recent: Mapping[str, int]) -> MixDrift:
    """Compare how judgements spread over agents (or specialties) before and lately.

    PSI alone alarms on small samples, so a drift needs both PSI > 0.2 and a chi-square tail under 1 % (PSI times the
    harmonic sample size is chi-square with one degree of freedom fewer than categories; Yurdakul 2018).
    """
    names = sorted(set(reference) | set(recent))
    before, after = sum(reference.values()), sum(recent.values())
    if before < MINIMUM_COUNT or after < MINIMUM_COUNT:
        return MixDrift("insufficient data", float("nan"), 1.0, before, after)
    if len(names) < 2:
        return MixDrift("steady", 0.0, 1.0, before, after)
    index = 0.0
    for name in names:  # half a count keeps a category that only one side has from being infinite
        p = (reference.get(name, 0) + 0.5) / (before + 0.5 * len(names))
        q = (recent.get(name, 0) + 0.5) / (after + 0.5 * len(names))
        index += (p - q) * math.log(p / q)
    tail = float(scipy_stats.chi2.sf(index * before * after / (before + after), len(names) - 1))
    drifted = index > PSI_LIMIT and tail < 0.01
    return MixDrift("drifted" if drifted else "steady", index, tail, before, after)


def rating_drift(
    reference: Sequence[float], recent: Sequence[float], *, margin: float = 0.05, alpha: float = 0.005
) -> RatingDrift:
    """Watch one bounded number a clinician and day, in order, for a fall below mean(reference) - margin.

    The e-detector of Shin, Ramdas and Rinaldo (arXiv 2203.03532): M = max(M, 1) * (1 + bet * (floor - x)), alarm at
    1/alpha. While the mean stays above the floor, an alarm comes on average no sooner than after 1/alpha units.
    """
    values = [*reference, *recent]
    if any(not 0 <= x <= 1 for x in values):
        raise InputError("The rating detector needs numbers between 0 and 1; rescale the stars first.")
    log_alarm = math.log(1 / alpha)
    if len(reference) < MINIMUM_COUNT or not recent:
        nan = float("nan")
        mean = sum(recent) / len(recent) if recent else nan
        return RatingDrift("insufficient data", nan, mean, 0.0, log_alarm, len(recent))
    mean = sum(reference) / len(reference)
    floor = max(0.0, mean - margin)
    bet = 0.5 / (1 - floor) if floor < 1 else 0.0
    current = highest = 0.0
    for x in recent:
        current = max(current, 0.0) + math.log1p(bet * (floor - x))
        highest = max(highest, current)
    status: Status = "drifted" if highest >= log_alarm else "steady"
    return RatingDrift(status, mean, sum(recent) / len(recent), highest, log_alarm, len(recent))
