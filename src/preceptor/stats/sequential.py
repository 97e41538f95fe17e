"""Outcomes in the order they arrived in, evidence that may be read at every look out.

Every e-process here starts at 1 and, while its null hypothesis holds, reaches 1/alpha with probability at
most alpha however often one looks (Ville's inequality). They are returned as natural logarithms, one
number a look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

from preceptor.errors import DataError

FloatArray = NDArray[np.float64]

# The bet's denominator starts at 0.05, the variance of a difference between two five-star means whose
# units spread by about 0.16 each: an early bet is then neither timid nor a gamble.
_PRIOR_VARIANCE = 0.05


@dataclass(frozen=True)
class ConfidenceSequence:
    """A difference (treatment minus control) that may be read at every look, and its always-valid p-value."""

    estimate: float
    low: float
    high: float
    p_value: float
    n: int


def tuning_rho(planned_units: float, *, alpha: float = 0.05, one_sided: bool = False) -> float:
    """The rho that makes the sequence narrowest at `planned_units`; Waudby-Smith et al., arXiv 2103.06476."""
    a = 2 * alpha if one_sided else alpha
    return math.sqrt((-2 * math.log(a) + math.log(-2 * math.log(a) + 1)) / planned_units)


def sequence_radius(n: float, deviation: float, *, rho: float, alpha: float = 0.05, one_sided: bool = False) -> float:
    """Half-width of the asymptotic confidence sequence after `n` units with standard deviation
    `deviation`.
    """
    mixed = n * rho * rho + 1
    log_term = math.log1p(math.sqrt(mixed) / (2 * alpha)) if one_sided else math.log(math.sqrt(mixed) / alpha)
    return deviation * math.sqrt(2 * mixed / (n * rho) ** 2 * log_term)


def difference_sequence(
    treatment: ArrayLike, control: ArrayLike, *, planned_units: float, alpha: float = 0.05
) -> ConfidenceSequence:
    """Two-sided asymptotic confidence sequence for mean(treatment) - mean(control), one number a unit.

    Asymptotic: read nothing from it before 50 units an arm. Fewer than two units an arm:
    infinite bounds.
    """
    t = np.asarray(treatment, dtype=np.float64).ravel()
    c = np.asarray(control, dtype=np.float64).ravel()
    n = int(t.size + c.size)
    if t.size < 2 or c.size < 2:
        estimate = float(t.mean() - c.mean()) if t.size and c.size else float("nan")
        return ConfidenceSequence(estimate, float("-inf"), float("inf"), 1.0, n)
    return difference_sequence_from_moments(
        (t.size, float(t.mean()), float(t.var(ddof=1))),
        (c.size, float(c.mean()), float(c.var(ddof=1))),
        planned_units=planned_units,
        alpha=alpha,
    )


def difference_sequence_from_moments(
    treatment: tuple[int, float, float],
    control: tuple[int, float, float],
    *,
    planned_units: float,
    alpha: float = 0.05,
) -> ConfidenceSequence:
    """As `difference_sequence`, from (units, mean, variance with ddof 1) of each arm."""
    (nt, mean_t, var_t), (nc, mean_c, var_c) = treatment, control
    n = nt + nc
    difference = mean_t - mean_c
    variance = n * (var_t / nt + var_c / nc)
    rho = tuning_rho(planned_units, alpha=alpha)
    radius = sequence_radius(n, math.sqrt(variance), rho=rho, alpha=alpha)
    if variance == 0:
        return ConfidenceSequence(difference, difference, difference, 0.0 if difference else 1.0, n)
    mixed = n * rho * rho + 1
    log_e = (rho * n * difference) ** 2 / (2 * mixed * variance) - math.log(mixed) / 2
    return ConfidenceSequence(difference, difference - radius, difference + radius, min(1.0, math.exp(-log_e)), n)


def harm_process(control: ArrayLike, treatment: ArrayLike, *, margin: float = 0.0) -> FloatArray:
    """Log evidence, pair by pair, that treatment is worse than control by more than `margin`.

    Both (..., K) in [0, 1]: the k-th closed unit of each arm. Tests E[control - treatment] <= margin by
    betting (Waudby-Smith and Ramdas 2024, JRSS B 86:1); finite-sample valid.
    """
    gap = _paired_gap(control, treatment)
    return betting_process(gap - margin, largest_bet=0.5 / (1 + margin))


def non_inferiority_process(control: ArrayLike, treatment: ArrayLike, *, margin: float) -> FloatArray:
    """Log evidence, pair by pair, that treatment is not worse than control by `margin` or more; shapes as
    above.
    """
    if not 0 < margin < 1:
        raise DataError(f"a non-inferiority margin lies between 0 and 1, got {margin}")
    gap = _paired_gap(control, treatment)
    return betting_process(margin - gap, largest_bet=0.5 / (1 - margin))


def betting_process(gains: ArrayLike, *, largest_bet: float) -> FloatArray:
    """Log wealth (..., K) of betting against E[gains] <= 0, each bet chosen from earlier gains only.

    The bet is mean / (variance + mean^2) of the past, smoothed: the aGRAPA rule, held in [0, largest_bet];
    the caller picks `largest_bet` so that 1 + largest_bet * gain stays positive.
    """
    g = np.asarray(gains, dtype=np.float64)
    if g.shape[-1] == 0:
        return np.zeros_like(g)
    if (1 + largest_bet * g.min()) <= 0:
        raise DataError(f"a bet of {largest_bet} can lose everything on a gain of {g.min()}")
    seen = np.arange(1, g.shape[-1] + 1)
    past = np.cumsum(g, axis=-1) / seen
    spread = np.cumsum(g * g, axis=-1) / seen - past**2
    shrunk = past * seen / (seen + 1)  # one imaginary gain of 0
    noisy = (np.maximum(spread, 0.0) * seen + _PRIOR_VARIANCE) / (seen + 1)
    bets = np.clip(shrunk / (noisy + shrunk**2), 0.0, largest_bet)
    bets = np.concatenate([np.zeros_like(bets[..., :1]), bets[..., :-1]], axis=-1)  # predictable
    return np.asarray(np.cumsum(np.log1p(bets * g), axis=-1), dtype=np.float64)


def _paired_gap(control: ArrayLike, treatment: ArrayLike) -> FloatArray:
    c, t = np.asarray(control, dtype=np.float64), np.asarray(treatment, dtype=np.float64)
    if c.shape != t.shape:
        raise DataError(f"pairs need as many control as treatment units, got {c.shape} and {t.shape}")
    for x in (c, t):
        if x.size and not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
            raise DataError("the betting test needs outcomes between 0 and 1")
    return c - t


def sample_ratio_process(
    assigned: ArrayLike, *, treatment_share: float = 0.5, concentration: float = 100.0
) -> FloatArray:
    """Log evidence (..., N) that units (1 treatment, 0 control) are not split by `treatment_share`.

    Dirichlet-multinomial mixture (Lindon and Malek, arXiv 2011.03567; GrowthBook's `ssrm`), one number a
    unit.
    """
    x = np.asarray(assigned, dtype=np.float64)
    k = np.cumsum(x, axis=-1)
    n = np.arange(1, x.shape[-1] + 1)
    a, b = concentration * treatment_share, concentration * (1 - treatment_share)
    log_null = k * math.log(treatment_share) + (n - k) * math.log(1 - treatment_share)
    return np.asarray(betaln(a + k, b + n - k) - betaln(a, b) - log_null, dtype=np.float64)


def duel_log_evidence(wins: float, duels: int, *, prior: float = 5.0) -> float:
    """Log evidence that the win rate is not 1/2: a Beta(prior, prior) mixture over `duels` decided
    comparisons.

    Ties and "cannot judge" are left out. Duels of one clinician are not independent: confirm on clinician
    means.
    """
    if not 0 <= wins <= duels:
        raise DataError(f"a duel count needs 0 <= wins <= duels, got {wins} of {duels}")
    return float(betaln(prior + wins, prior + duels - wins) - betaln(prior, prior) + duels * math.log(2.0))


def safety_flag_process(
    from_treatment: ArrayLike, treatment_share: ArrayLike, *, ratios: Sequence[float] = (1.5, 2.0, 4.0)
) -> FloatArray:
    """Log evidence (..., J) that treatment raises the hazard of an unsafe answer.

     One entry a unit, its *first* flag only, in order: 1 when the unit is on treatment, and the probability
     with which it had been put there (a number, or (..., J)). A uniform mixture over hazard `ratios`
    .
    """
    x = np.asarray(from_treatment, dtype=np.float64)
    p = np.broadcast_to(np.asarray(treatment_share, dtype=np.float64), x.shape)
    if p.size and not (p.min() > 0 and p.max() < 1):
        raise DataError("a unit's treatment probability lies strictly between 0 and 1")
    if x.shape[-1] == 0:
        return np.zeros_like(x)
    paths = []
    for ratio in ratios:
        q = ratio * p / (ratio * p + 1 - p)
        paths.append(np.cumsum(np.log(np.where(x == 1, q / p, (1 - q) / (1 - p))), axis=-1))
    return np.asarray(np.logaddexp.reduce(np.stack(paths), axis=0) - math.log(len(ratios)), dtype=np.float64)


def peak(log_evidence: FloatArray) -> float:
    """The highest log evidence reached at any look, 0 (evidence 1) before the first one."""
    return max(0.0, float(log_evidence.max())) if log_evidence.size else 0.0
