"""Of many answers to a prompt those with the widest spread of scores are kept, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.rollout import Answers, Prompt, evaluate_answers, sample_answers, widest


def _answers(scores: torch.Tensor, prompts: int) -> Answers:
    n = len(scores) // prompts
    ids = [[[10 * g + i, 7] for i in range(n)] for g in range(prompts)]
    texts = [f"{g}.{i}" for g in range(prompts) for i in range(n)]
    finished, sampled = torch.arange(len(scores)) % 2 == 0, torch.arange(len(scores))[:, None] * torch.ones(1, 2)
    asked = [Prompt(str(g), [1]) for g in range(prompts)]
    return Answers(asked, ids, texts, finished, scores, logprobs=sampled)


def test_the_best_and_the_worst_answer_are_kept_in_the_order_of_drawing() -> None:
    scores = torch.tensor([0.3, 0.9, -0.2, 0.5, 0.1, 0.2, 0.8, 0.4])
    kept, of_kept = widest(_answers(scores, 2), scores, 2)
    assert kept.texts == ["0.1", "0.2", "1.0", "1.2"]
    assert of_kept.tolist() == pytest.approx([0.9, -0.2, 0.1, 0.8])
    assert kept.token_ids == [[[1, 7], [2, 7]], [[10, 7], [12, 7]]]
    assert kept.finished.tolist() == [False, True, True, True]
    assert kept.scores.tolist() == of_kept.tolist()
    assert kept.logprobs is not None
    assert kept.logprobs[:, 0].tolist() == [1.0, 2.0, 4.0, 6.0]


def test_of_an_odd_number_one_more_of_the_best_is_kept() -> None:
    scores = torch.tensor([0.0, 5.0, 1.0, 4.0, 2.0])
    assert widest(_answers(scores, 1), scores, 3)[1].tolist() == [0.0, 5.0, 4.0]


@pytest.mark.parametrize("keep", [2, 4])
def test_no_other_choice_of_equal_halves_varies_more(keep: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = torch.from_numpy(rng.standard_normal(7))
        _, kept = widest(_answers(scores, 1), scores, keep)
        best = max(float(torch.tensor(part).var()) for part in combinations(scores.tolist(), keep))
        if keep == 2:
            assert float(kept.var()) == pytest.approx(best)
        assert {float(scores.max()), float(scores.min())} <= set(kept.tolist())
        assert float(kept.var()) >= float(scores.var())


def test_keeping_all_changes_nothing() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    answers = _answers(scores, 2)
    kept, of_kept = widest(answers, scores, 2)
    assert kept is answers
    assert of_kept is scores


def test_what_the_sampler_kept_of_an_answer_stays_with_it(
    small_config: Callable[..., PolicyConfig], letter_score: Callable[..., Any], tiny_llama: Path
) -> None:
    config = small_config(answers_per_prompt=2, draws_per_prompt=5, batch_size=4, mini_batch_size=4)
    model, tokenizer = load_policy(tiny_llama)
    networks = make_networks(model, config)
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in ("one", "a second one")]
    drawn = sample_answers(
        networks, tokenizer, prompts, letter_score, n=5, eos=list(range(1, 60)), config=config, seed=3
    )
    kept, _ = widest(drawn, drawn.scores, 2)
    assert kept.states is not None
    by_states = evaluate_answers(networks, kept, config)
    afresh = evaluate_answers(networks, Answers(**{**vars(kept), "states": None}), config)
    torch.testing.assert_close(by_states.logprobs, afresh.logprobs, rtol=1e-4, atol=1e-4)
    assert len({len(ids) for row in drawn.token_ids for ids in row}) > 1


def test_drawing_less_than_is_learned_from_is_refused() -> None:
    with pytest.raises(ValidationError, match="draws_per_prompt must be at least answers_per_prompt"):
        PolicyConfig(reward_model="x", answers_per_prompt=4, draws_per_prompt=2)
    with pytest.raises(ValidationError, match="answers_per_prompt must be at least 2"):
        PolicyConfig(reward_model="x", draws_per_prompt=4)
    with pytest.raises(ValidationError, match="rloo does not use draws_per_prompt"):
        PolicyConfig(reward_model="x", algorithm="rloo", answers_per_prompt=4, draws_per_prompt=8)
