"""Scores of held-out pairs, the model's and the baselines', go in; the numbers of report.json come out.

An accuracy alone misleads: a model that prefers the longer answer can look good. So it stands beside that rule, beside
the untrained encoder, and beside how often raters agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from preceptor.modeling.frozen_head import Array
from preceptor.reward.dataset import Pair
from preceptor.reward.parts import decided_pairs
from preceptor.stats.intervals import Interval, cluster_share, paired_difference

_BINS = 10
_FEW_PROMPTS = 20
_CONSTANT = 1e-6  # of scores whose deviation is 1


def held_out_report(
    pairs: Sequence[Pair],
    *,
    chosen: Array,
    rejected: Array,
    temperature: float,
    train: Sequence[Pair],
    baselines: Mapping[str, Array],
    seed: int,
) -> dict[str, Any]:
    """Everything measured on held-out pairs (N): `chosen` and `rejected` are the scores (N,), not seen in training.

    `baselines` gives the margins (N,) of other rules by name. Intervals resample whole prompts. A tie has no better
    answer to find, so ties are counted and left out; at least one pair must be none.
    """
    decided = decided_pairs(pairs)
    ties = int((~decided).sum())
    if ties:
        pairs = [pair for pair, kept in zip(pairs, decided, strict=True) if kept]
        chosen, rejected = chosen[decided], rejected[decided]
        baselines = {name: values[decided] for name, values in baselines.items()}
    margins = chosen - rejected
    prompts = [pair.prompt for pair in pairs]
    wins = win_values(margins)
    direction = length_direction(train)
    lengths = np.array([len(pair.chosen) - len(pair.rejected) for pair in pairs], dtype=np.float64)
    others = {"length_only": win_values(direction * lengths)}
    others |= {name: win_values(values) for name, values in baselines.items()}
    report: dict[str, Any] = {
        "held_out": {"pairs": len(pairs), "prompts": len(set(prompts)), "ties": ties},
        "accuracy": _accuracy(wins, prompts, seed),
        "margin": {"mean": float(margins.mean()), "std": float(margins.std())},
        "calibration": calibration(margins, temperature=temperature),
        "length": {
            "rule": "longer" if direction > 0 else "shorter",
            "longer_wins": float(win_values(lengths).mean()),
            "score_correlation": score_length_correlation(pairs, chosen, rejected),
        },
        "baselines": {name: _accuracy(values, prompts, seed) for name, values in others.items()},
        "gain_over": {
            name: _plain(paired_difference(wins, values, prompts, seed=seed)) for name, values in others.items()
        },
        "slices": _slices(pairs, wins, lengths, seed),
        "rater_agreement": rater_agreement(train, pairs),
        "notes": [],
    }
    if float(np.ptp(np.concatenate([chosen, rejected]))) < _CONSTANT:
        report["notes"].append(
            "Every held-out answer has the same score: the model tells nothing apart and no policy can learn from it."
        )
    if report["held_out"]["prompts"] < _FEW_PROMPTS:
        report["notes"].append(
            f"Only {report['held_out']['prompts']} prompts are held out: read the intervals, not the estimates."
        )
    return report


def win_values(margins: Array) -> Array:
    """1 where the margin is right, 0.5 for a tie, 0 where it is wrong, (N,)."""
    values: Array = np.where(margins == 0, 0.5, (margins > 0).astype(np.float64))
    return values


def length_direction(train: Sequence[Pair]) -> float:
    """1.0 when the longer answer is chosen more often in training, else -1.0: the best rule that only sees length.

    Ties choose nothing; at least one pair must be none.
    """
    lengths = np.array([len(p.chosen) - len(p.rejected) for p in train if not p.is_tie], dtype=np.float64)
    return 1.0 if float(win_values(lengths).mean()) >= 0.5 else -1.0


def calibration(margins: Array, *, temperature: float) -> dict[str, Any]:
    """Brier score, expected calibration error and reliability of P(chosen) = sigmoid(margin / temperature).

    The error compares confidence max(p, 1-p) with accuracy over ten bins of equal width in [0.5, 1] (Guo et al. 2017);
    `bins` gives both for each bin that holds pairs.
    """
    chance = 1.0 / (1.0 + np.exp(-np.clip(margins / temperature, -60, 60)))
    confidence, right = np.maximum(chance, 1 - chance), win_values(margins)
    places = np.minimum(((confidence - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    bins = [
        {
            "pairs": int((places == place).sum()),
            "confidence": float(confidence[places == place].mean()),
            "accuracy": float(right[places == place].mean()),
        }
        for place in np.unique(places)
    ]
    error = sum(abs(found["confidence"] - found["accuracy"]) * found["pairs"] for found in bins) / len(margins)
    brier = float(((1 - chance) ** 2).mean())
    return {"temperature": temperature, "ece": float(error), "brier": brier, "bins": bins}


def score_length_correlation(pairs: Sequence[Pair], chosen: Array, rejected: Array) -> float | None:
    """Spearman correlation of score and length over distinct answers; None where either never varies."""
    scored = {(p.prompt, p.chosen): s for p, s in zip(pairs, chosen, strict=True)}
    scored |= {(p.prompt, p.rejected): s for p, s in zip(pairs, rejected, strict=True)}
    lengths = [len(text) for _, text in scored]
    scores = list(scored.values())
    if len(set(lengths)) < 2 or len(set(scores)) < 2:
        return None
    return float(scipy_stats.spearmanr(lengths, scores).statistic)


def rater_agreement(train: Sequence[Pair], held_out: Sequence[Pair]) -> dict[str, float] | None:
    """How often two raters prefer the same of two answers, and the accuracy that this allows; None without overlap.

    If raters err independently with the same chance, two agree with probability q^2 + (1-q)^2, where q is how often one
    of them is right: a model that knows the truth is right on a share q of single judgements. Ties prefer nothing.
    """
    votes: dict[tuple[str, frozenset[str]], dict[str, set[str]]] = {}
    for pair in (*train, *held_out):
        if pair.rater is not None and not pair.is_tie:
            case = votes.setdefault((pair.prompt, frozenset((pair.chosen, pair.rejected))), {})
            case.setdefault(pair.rater, set()).add(pair.chosen)
    clear = [[next(iter(v)) for v in case.values() if len(v) == 1] for case in votes.values()]
    same = [a == b for case in clear for a, b in combinations(case, 2)]
    if not same:
        return None
    share = sum(same) / len(same)
    ceiling = 0.5 * (1.0 + math.sqrt(max(0.0, 2.0 * share - 1.0)))
    return {"agreement": share, "rater_pairs": len(same), "accuracy_ceiling": ceiling}


def _accuracy(wins: Array, prompts: Sequence[str], seed: int) -> dict[str, Any]:
    """Accuracy with an interval over prompts, whose number is `n`: pairs of one prompt are not independent."""
    return _plain(cluster_share(wins, prompts, seed=seed)) | {"pairs": len(wins)}


def _slices(pairs: Sequence[Pair], wins: Array, lengths: Array, seed: int) -> dict[str, dict[str, Any]]:
    names = {"chosen is longer": lengths > 0, "chosen is shorter": lengths < 0, "same length": lengths == 0}
    groups = {"length": names, "agent": _masks([p.agent for p in pairs])}
    groups["specialty"] = _masks([p.specialty for p in pairs])
    prompts = np.array([pair.prompt for pair in pairs], dtype=object)
    return {
        group: {name: _accuracy(wins[mask], prompts[mask].tolist(), seed) for name, mask in masks.items() if mask.any()}
        for group, masks in groups.items()
    }


def _masks(values: Sequence[str | None]) -> dict[str, Any]:
    """Which pairs carry each value."""
    known = sorted({value for value in values if value is not None})
    return {name: np.array([value == name for value in values]) for name in known}


def _plain(interval: Interval) -> dict[str, Any]:
    """JSON has no infinity: an unbounded interval is written with nulls."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(interval).items()
    }
