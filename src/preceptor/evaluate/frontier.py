"""Scores of a policy and of many baseline answers, with their distances, in; the reward-KL frontier out.

Best-of-n of the baseline needs no training and moves little from the baseline. A policy earns its training only by
scoring higher than that at the same distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.evaluate.best_of_n import best_of_n_curve, expected_best, kl_of_best_of_n
from preceptor.evaluate.gold import bounds
from preceptor.stats.intervals import cluster_bootstrap_mean

FloatArray = NDArray[np.float64]


def frontier(
    candidate: FloatArray,
    baseline: FloatArray,
    *,
    kl: float | None,
    golden: tuple[FloatArray, FloatArray] | None,
    seed: int,
) -> dict[str, Any]:
    """Points of the best-of-n curve, the candidate's point, and the candidate less the best of n at its own KL.

    `candidate` (P, C) and `baseline` (P, N) are the reward model's scores of the answers to each prompt; it chooses
    the best of n. `golden` are the gold judge's scores of the same answers: `against` is by the gold judge where
    there is one.
    """
    judged = golden[1] if golden else None
    curve = [
        {
            "n": point.n,
            "kl": point.kl,
            "reward": bounds(point.score),
            "gold": bounds(point.judged) if point.judged else None,
        }
        for point in best_of_n_curve(baseline, judged=judged, sizes=range(1, baseline.shape[1] + 1), seed=seed)
    ]
    place = list(range(len(candidate)))
    ours = {"reward": candidate.mean(1), "gold": golden[0].mean(1) if golden else None}
    found: dict[str, Any] = {
        "best_of_n": curve,
        "candidate": {
            "kl": kl,
            **{
                name: None if values is None else bounds(cluster_bootstrap_mean(values, place, seed=seed))
                for name, values in ours.items()
            },
        },
    }
    if kl is None or not np.isfinite(kl):
        return {**found, "against": {"not_measured": "the candidate's KL is not known"}}
    if baseline.shape[1] < 2:
        return {**found, "against": {"not_measured": "one answer to a prompt has no best"}}
    judge = "gold" if golden else "reward"
    values = ours[judge]
    theirs, n = _best_at(baseline, judged if judged is not None else baseline, kl)
    gain = cluster_bootstrap_mean((ours["reward"] if values is None else values) - theirs, place, seed=seed)
    reached = kl_of_best_of_n(baseline.shape[1])
    return {
        **found,
        "against": {"n": n, "kl": min(kl, reached), "judge": judge, "equal_kl": kl <= reached, **bounds(gain)},
    }


def training_path(along: Mapping[str, Any], card: Mapping[str, Any], *, baseline: str) -> dict[str, Any]:
    """The policy's looks at held-out prompts as points of the frontier, where their KL is from the same baseline.

    A supervised warm start moves the point from which training measures KL, and a round may compare with another
    model than the one that training began from: then the points have no place on this plot.
    """
    config = card.get("config") or {}
    if "looks" not in along:
        return {"not_measured": along.get("not_measured", "training left no looks at held-out prompts")}
    if config.get("warm_start_epochs"):
        return {"not_measured": "training measured KL from its warm start, not from the baseline"}
    if config.get("caution"):
        return {"not_measured": "training scored with caution, so its scores are on another scale"}
    if card.get("base_model") != baseline:
        return {"not_measured": "training began from another model than the baseline"}
    names = ("update", "kl", "score", "gold")
    return {"looks": [{name: look[name] for name in names} for look in along["looks"]]}


def _best_at(chosen_by: FloatArray, worth: FloatArray, kl: float) -> tuple[FloatArray, float]:
    """What the best of n is worth to each prompt (P,) at `kl` nats, between two n in proportion; and that n.

    Beyond the last n there is no estimate: the last one stands in, at a smaller KL than the candidate's.
    """
    sizes = np.arange(1, chosen_by.shape[1] + 1)
    distances = np.array([kl_of_best_of_n(int(n)) for n in sizes])
    place = float(np.interp(kl, distances, sizes.astype(np.float64)))
    low = int(np.floor(place))
    high = min(low + 1, int(sizes[-1]))
    part = place - low
    best: FloatArray = (1 - part) * expected_best(chosen_by, low, values=worth) + part * expected_best(
        chosen_by, high, values=worth
    )
    return best, place


def table(scores: Sequence[float] | FloatArray, *, each: int) -> FloatArray:
    """Scores of answers that lie prompt by prompt, as (prompts, `each`)."""
    return np.asarray(scores, dtype=np.float64).reshape(-1, each)
