"""A reward model's folder in; its gold judge, when that learned from other clinicians alone, and what it says, out.

The gold judge shares no clinician with the reward model, was never at hand in training, and has not seen the held-out
prompts. It shares the encoder: what that cannot tell apart, neither judge can.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.evaluate.inputs import Judge
from preceptor.evaluate.win_rate import outcomes_from_scores, win_rate
from preceptor.modeling.reward_model import GOLD_FOLDER, load_gold
from preceptor.stats.intervals import Interval, cluster_share

FloatArray = NDArray[np.float64]


def gold_judge(reward_model: Path) -> tuple[Judge | None, dict[str, Any]]:
    """The gold judge in a reward model's folder and how many clinicians and pairs are behind it.

    Without one, or where it shares a clinician with the reward model, the second says so under `not_measured`.
    """
    report = _read(reward_model / GOLD_FOLDER / "report.json")
    if report is None:
        told = (_read(reward_model / "report.json") or {}).get("gold") or {}
        reason = told.get("reason") or "none was made with it"
        return None, {"not_measured": f"the reward model has no gold judge: {reason}"}
    own, others = set(report.get("raters") or ()), set(report.get("reward_model_raters") or ())
    if not own or not others:
        return None, {"not_measured": "the gold judge does not say from whom it learned"}
    if own & others:
        return None, {"not_measured": f"the gold judge shares {len(own & others)} clinicians with the reward model"}
    scorer = load_gold(reward_model)
    if scorer is None:
        return None, {"not_measured": "the gold judge's files are missing"}
    return scorer.score, {
        "raters": len(own),
        "reward_model_raters": len(others),
        "shared_raters": 0,
        "pairs": report.get("pairs"),
    }


def gold_accuracy(judge: Judge, pairs: Sequence[dict[str, Any]], *, seed: int) -> dict[str, Any]:
    """How often the gold judge ranks held-out pairs as their clinicians did; ties half."""
    if not pairs:
        return {"n": 0, "estimate": None, "low": None, "high": None}
    questions = [pair["prompt"] for pair in pairs]
    chosen, rejected = (judge(questions, [pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    found = cluster_share(outcomes_from_scores(chosen, rejected), questions, seed=seed)
    return {"n": len(pairs), **bounds(found)}


def gold_verdict(
    prompts: Sequence[str],
    golden: tuple[FloatArray, FloatArray],
    rewarded: tuple[FloatArray, FloatArray],
    *,
    tie_margin: float,
    seed: int,
) -> dict[str, Any]:
    """The win rate by the gold judge, its mean scores, and how often both judges prefer the same answer."""
    outcomes = outcomes_from_scores(*golden, tie_margin=tie_margin)
    by_reward = outcomes_from_scores(*rewarded, tie_margin=tie_margin)
    return {
        "win_rate": {**bounds(win_rate(outcomes, prompts, seed=seed)), "n": len(set(prompts))},
        "scores": {"candidate": float(golden[0].mean()), "baseline": float(golden[1].mean())},
        "same_preference": float((outcomes == by_reward).mean()),
    }


def bounds(interval: Interval) -> dict[str, float]:
    """An interval as a report keeps it."""
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
