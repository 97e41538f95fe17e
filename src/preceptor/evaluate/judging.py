"""Answers of both policies in; what the win rate's judge, the reward model and the gold judge make of them, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.errors import DataError
from preceptor.evaluate.answers import Answer
from preceptor.evaluate.compare import FloatArray, ScorePair
from preceptor.evaluate.config import EvaluateConfig
from preceptor.evaluate.gold import gold_judge
from preceptor.evaluate.inputs import Judge, ratings_judge
from preceptor.evaluate.orders import PairJudge, judge_in_both_orders, verdicts_judge
from preceptor.evaluate.win_rate import outcomes_from_scores

_ORDERLESS = {
    "reward_model": "the reward model scores each answer by itself, so it sees no order",
    "ratings": "each answer was rated by itself, so there was no order",
    "given": "the judge scores each answer by itself, so it sees no order",
}


@dataclass(frozen=True)
class Judges:
    """Who judges: `scores` single answers or `verdicts` compare two; neither where the reward model is the judge."""

    name: str  # reward_model | ratings | verdicts | given
    reward: Judge
    gold: Judge | None
    gold_facts: dict[str, Any]
    scores: Judge | None = None
    verdicts: PairJudge | None = None


def open_judges(
    config: EvaluateConfig, reward_model: Path, *, judge: Judge | None, pair_judge: PairJudge | None
) -> Judges:
    """Load the reward model with its gold judge, and the judge of the win rate: the given one, or the configured."""
    from preceptor.modeling.reward_model import load_scorer

    reward = load_scorer(reward_model).score
    gold, facts = gold_judge(reward_model)
    if judge is not None or pair_judge is not None:
        return Judges("given", reward, gold, facts, judge, pair_judge)
    if config.verdicts:
        return Judges("verdicts", reward, gold, facts, verdicts=verdicts_judge(Path(config.verdicts)))
    if config.ratings:
        return Judges("ratings", reward, gold, facts, ratings_judge(Path(config.ratings)))
    return Judges("reward_model", reward, gold, facts)


def decide(
    judges: Judges,
    prompts: Sequence[str],
    candidate: Sequence[Answer],
    baseline: Sequence[Answer],
    *,
    rewarded: ScorePair,
    tie_margin: float,
    seed: int,
) -> tuple[FloatArray, ScorePair, dict[str, Any]]:
    """Outcomes (N,) by the judge of the win rate, scores to show beside them, and what their order did."""
    if judges.verdicts is not None:
        texts = ([answer.text for answer in side] for side in (candidate, baseline))
        outcomes, order = judge_in_both_orders(judges.verdicts, prompts, *texts, seed=seed)
        return outcomes, rewarded, order
    scores = rewarded
    if judges.scores is not None:
        scores = score(judges.scores, prompts, candidate), score(judges.scores, prompts, baseline)
    order = {"sensitive": False, "reason": _ORDERLESS[judges.name]}
    return outcomes_from_scores(*scores, tie_margin=tie_margin), scores, order


def score(judge: Judge, prompts: Sequence[str], answers: Sequence[Answer]) -> FloatArray:
    """One score an answer (N,); raises DataError where the judge gives none, or one that is no finite number."""
    scores = np.asarray(judge(prompts, [answer.text for answer in answers]), dtype=np.float64)
    given = int(np.isfinite(scores).sum()) if scores.ndim == 1 else 0
    if given != len(answers) or scores.size != len(answers):
        raise DataError(
            f"The judge scored {given} of {len(answers)} answers with a number: what it prefers cannot be told. "
            "Give another judge, or train the reward model again."
        )
    return scores
