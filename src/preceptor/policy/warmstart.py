"""Chosen answers go in, a policy fitted to them by supervised learning comes out, before PPO begins.

Its gain is measured and reported apart from PPO's, and KL is then measured from the policy it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preceptor.errors import DataError, RunCanceled
from preceptor.policy.config import PolicyConfig
from preceptor.policy.logprobs import token_logprobs
from preceptor.policy.networks import Networks
from preceptor.policy.rollout import Prompt, Score, sample_answers
from preceptor.policy.sequences import Sequences, pack

_SENTENCE_ENDS = ".!?)]\"'"
LONGEST_ANSWER = 128  # tokens of a chosen answer that are learned from
_MEASURED_PROMPTS = 32


def encode_answer(tokenizer: Any, text: str, *, eos: int, most: int = LONGEST_ANSWER) -> list[int]:
    """At most `most` token ids of an answer to imitate; `eos` ends them only where the text ends a whole sentence.

    An answer that was cut off at a length limit must not teach the policy to stop in mid-sentence.
    """
    ids: list[int] = tokenizer(text.strip(), add_special_tokens=False)["input_ids"]
    whole = text.rstrip()[-1:] in _SENTENCE_ENDS and len(ids) < most
    return ids[:most] + ([eos] if whole else [])


def warm_start(
    networks: Networks,
    tokenizer: Any,
    examples: Sequence[tuple[Prompt, list[int]]],
    score: Score,
    config: PolicyConfig,
    *,
    eos: Sequence[int],
    progress: Callable[[int, int, dict[str, Any]], None],
    is_canceled: Callable[[], bool],
) -> dict[str, float]:
    """Fit the policy to (prompt, answer ids) and make the result the reference.

    Returns `warm_start/` loss (nats a token, on a held-out tenth) and mean score of sampled answers, before and
    after. Raises DataError for fewer than 10 examples.
    """
    if len(examples) < 10:
        raise DataError(f"A supervised warm start needs at least 10 chosen answers, got {len(examples)}.")
    order = np.random.default_rng([config.seed, len(examples)]).permutation(len(examples))
    held = [examples[int(i)] for i in order[: max(1, len(examples) // 10)]]
    kept = [examples[int(i)] for i in order[max(1, len(examples) // 10) :]]
    prompts = list({prompt.text: prompt for prompt, _ in held + kept}.values())[:_MEASURED_PROMPTS]

    def mean_score() -> float:
        answers = sample_answers(networks, tokenizer, prompts, score, n=1, eos=eos, config=config, seed=config.seed)
        return float(answers.scores.mean())

    kept_inputs, held_inputs = _inputs(networks, kept, config), _inputs(networks, held, config)
    metrics = {"warm_start/score_before": mean_score(), "warm_start/loss_before": _loss(networks, held_inputs, config)}
    parameters = [parameter for _, parameter in networks.policy_parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.warm_start_learning_rate, weight_decay=0.0, fused=True)
    steps = -(-len(kept) // config.mini_batch_size) * config.warm_start_epochs
    done = 0
    for epoch in range(config.warm_start_epochs):
        shuffled = torch.from_numpy(np.random.default_rng([config.seed, epoch, 1]).permutation(len(kept)))
        for rows in torch.split(shuffled, config.mini_batch_size):
            if is_canceled():
                raise RunCanceled("The supervised warm start was canceled; it begins anew next time.")
            optimizer.zero_grad(set_to_none=True)
            (-_logprobs(networks, kept_inputs, rows, config).mean()).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
            optimizer.step()
            done += 1
            progress(done, steps, {"warm_start/epoch": epoch + 1})
    networks.refresh_reference()
    return metrics | {
        "warm_start/loss_after": _loss(networks, held_inputs, config),
        "warm_start/score_after": mean_score(),
        "warm_start/examples": float(len(kept)),
    }


@dataclass(frozen=True)
class _Inputs:
    """Answers to imitate behind their prompts, with the features that no training step changes."""

    sequences: Sequences
    features: Tensor


@torch.no_grad()
def _inputs(networks: Networks, examples: list[tuple[Prompt, list[int]]], config: PolicyConfig) -> _Inputs:
    sequences = pack([prompt.ids for prompt, _ in examples], [[ids] for _, ids in examples])
    parts = torch.split(torch.arange(len(examples)), config.mini_batch_size)
    features: Tensor | None = None
    for rows in parts:
        part = sequences.select(rows)
        computed = networks.features(part)
        if features is None:
            features = computed.new_zeros(*sequences.ids.shape, *computed.shape[2:])
        features[rows.to(features.device), : computed.shape[1]] = computed
    assert features is not None
    return _Inputs(sequences, features)


@torch.no_grad()
def _loss(networks: Networks, inputs: _Inputs, config: PolicyConfig) -> float:
    parts = torch.split(torch.arange(len(inputs.sequences.ids)), config.mini_batch_size)
    return -float(torch.cat([_logprobs(networks, inputs, rows, config) for rows in parts]).mean())


def _logprobs(networks: Networks, inputs: _Inputs, rows: Tensor, config: PolicyConfig) -> Tensor:
    sequences = inputs.sequences.select(rows)
    features = inputs.features[rows.to(inputs.features.device), : sequences.ids.shape[1]]
    hidden, head = networks.policy(features, sequences)
    return token_logprobs(hidden, head, sequences.tokens(), precision=config.precision)
