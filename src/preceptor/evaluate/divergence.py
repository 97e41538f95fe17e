"""A policy, its own samples and a reference in; KL(policy || reference) by two estimators out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import ModelError
from preceptor.evaluate.answers import Answer
from preceptor.modeling.policy_model import context_length
from preceptor.modeling.sequences import encode_prompt
from preceptor.stats.intervals import cluster_bootstrap_mean

FloatArray = NDArray[np.float64]
_BATCH = 16


def summarize(
    log_ratios: Sequence[FloatArray], *, prompts: Sequence[Hashable] | None = None, seed: int = 0
) -> dict[str, float]:
    """Estimates from log pi - log ref of each sampled token, one array an answer; nats.

    `low` and `high` bound k1 by resampling prompts, or answers where no prompts are given.
    k1 is the mean log ratio (unbiased, noisy), k3 = exp(-l) - 1 + l (never negative), sampled from the policy:
    Schulman, "Approximating KL divergence" (2020).
    """
    k3 = [np.exp(-np.clip(ratio, -20, 20)) - 1 + ratio for ratio in log_ratios]
    tokens = sum(ratio.size for ratio in log_ratios)
    whole = cluster_bootstrap_mean([ratio.sum() for ratio in log_ratios], prompts or range(len(log_ratios)), seed=seed)
    return {
        "sequence_k1": whole.estimate,
        "low": whole.low,
        "high": whole.high,
        "sequence_k3": float(np.mean([k.sum() for k in k3])),
        "token_k1": float(sum(ratio.sum() for ratio in log_ratios) / tokens),
        "token_k3": float(sum(k.sum() for k in k3) / tokens),
        "answers": len(log_ratios),
        "tokens": tokens,
    }


def log_ratios(
    policy: tuple[Any, Any],
    reference: tuple[Any, Any],
    prompts: Sequence[str],
    answers: Sequence[Answer],
    *,
    temperature: float = 1.0,
    max_new_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FloatArray]:
    """log pi - log ref of each token that the policy sampled at `temperature`, one array an answer.

    With the `max_new_tokens` of the sampling, prompts beyond the context keep the end that they were answered by.

    Raises:
        ModelError: both do not read the same tokens, so that their probabilities cannot be compared.
    """
    (model, tokenizer), (reference_model, reference_tokenizer) = policy, reference
    if tokenizer.get_vocab() != reference_tokenizer.get_vocab():
        raise ModelError("The policy and the baseline have different vocabularies: KL between them is not defined.")
    room = None if max_new_tokens is None else context_length(model) - max_new_tokens
    rows = [
        (encode_prompt(tokenizer, prompt, room)[0], answer.token_ids)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    found: list[FloatArray | None] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        batch = [rows[i] for i in chosen]
        ours = token_log_probs(model, batch, temperature=temperature)
        theirs = token_log_probs(reference_model, batch, temperature=temperature)
        for i, a, b in zip(chosen, ours, theirs, strict=True):
            found[i] = a - b
        if progress is not None:
            progress(start + len(chosen), len(rows))
    return [ratio for ratio in found if ratio is not None]


def token_log_probs(
    model: Any, rows: Sequence[tuple[list[int], list[int]]], *, temperature: float = 1.0
) -> list[FloatArray]:
    """Log-probability of each answer token given all before it; rows are (prompt ids, answer ids)."""
    import torch

    longest_prompt = max(len(prompt) for prompt, _ in rows)
    longest = max(len(answer) for _, answer in rows)
    ids = torch.zeros(len(rows), longest_prompt + longest, dtype=torch.long)  # (B, T): prompts end, answers begin at P
    mask = torch.zeros_like(ids)
    for i, (prompt, answer) in enumerate(rows):
        row = torch.tensor(prompt + answer)
        first = longest_prompt - len(prompt)
        ids[i, first : first + len(row)] = row
        mask[i, first : first + len(row)] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=longest + 1).logits[
            :, :-1
        ]  # (B, R, V)
        scaled = logits.float() / temperature
        picked = scaled.gather(-1, ids[:, longest_prompt:, None])[..., 0] - scaled.logsumexp(-1)  # (B, R)
    return [picked[i, : len(answer)].double().numpy() for i, (_, answer) in enumerate(rows)]
