"""Paired answers with the scores of a judge and of the reward model in; the measurements of the report out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.evaluate import quality
from preceptor.evaluate.answers import Answer
from preceptor.evaluate.signs import compare_signs
from preceptor.evaluate.slices import win_rate_slices
from preceptor.evaluate.win_rate import length_controlled_win_rate, outcomes_from_scores, win_rate

FloatArray = NDArray[np.float64]
ScorePair = tuple[FloatArray, FloatArray]
"""The candidate's scores and the baseline's, (N,) each."""


def compare_answers(
    prompts: Sequence[str],
    candidate: Sequence[Answer],
    baseline: Sequence[Answer],
    *,
    outcomes: FloatArray,
    judged: ScorePair,
    rewarded: ScorePair,
    groups: Mapping[str, Mapping[str, str]],
    tie_margin: float,
    seed: int,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Win rates, outcome counts and the look of the answers; and one row a pair of answers.

    `outcomes` (N,) are the judge's, `judged` its scores, or the reward model's where it gives verdicts alone;
    `groups` name what is known of each prompt, for the slices.
    """
    ours, theirs = [answer.text for answer in candidate], [answer.text for answer in baseline]
    lengths = np.array([quality.word_count(a) - quality.word_count(b) for a, b in zip(ours, theirs, strict=True)])
    by_reward = outcomes_from_scores(*rewarded, tie_margin=tie_margin)
    found = {
        "win_rate": asdict(win_rate(outcomes, prompts, seed=seed)),
        "length_controlled_win_rate": asdict(length_controlled_win_rate(outcomes, lengths, prompts, seed=seed)),
        "reward_win_rate": asdict(win_rate(by_reward, prompts, seed=seed)),
        "outcomes": {
            "wins": int((outcomes == 1).sum()),
            "ties": int((outcomes == 0.5).sum()),
            "losses": int((outcomes == 0).sum()),
        },
        "reward_scores": {"candidate": float(rewarded[0].mean()), "baseline": float(rewarded[1].mean())},
        "quality": quality.compare(
            quality.describe(ours, [answer.finished for answer in candidate]),
            quality.describe(theirs, [answer.finished for answer in baseline]),
        ),
        "slices": win_rate_slices(outcomes, prompts, lengths.tolist(), groups=groups, seed=seed),
        "signs": compare_signs(prompts, candidate, baseline, seed=seed),
    }
    rows = [
        {
            "prompt": prompt,
            "candidate": a,
            "baseline": b,
            "candidate_score": float(s),
            "baseline_score": float(t),
            "outcome": float(outcome),
        }
        for prompt, a, b, s, t, outcome in zip(prompts, ours, theirs, *judged, outcomes, strict=True)
    ]
    return found, rows


def finite(value: Any) -> Any:
    """The same structure with None where a number is infinite or not a number: JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
