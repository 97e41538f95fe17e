"""The arithmetic of PPO: tensors and numbers in, tensors and numbers out, nothing else touched.

Tensors are (B, R): B answers, R answer tokens, with a mask that is 1 on real tokens. References: PPO, Schulman
et al. 2017 (arXiv:1707.06347); GAE, Schulman et al. 2016 (arXiv:1506.02438); KL to a reference and its
controller, Ziegler et al. 2019 (arXiv:1909.08593); estimator k1, Schulman 2020
(http://joschu.net/blog/kl-approx.html).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_LOG_RATIO_LIMIT = 20.0  # exp(20) is far outside every clip; without a limit one token could make it infinite


class PolicyLoss(NamedTuple):
    """The clipped policy loss with what it says about the step."""

    loss: Tensor  # (): sum over real tokens over `tokens`
    clipped: Tensor  # (): real tokens where the clipped term was the larger
    ratio: Tensor  # (B, R)


class ValueLoss(NamedTuple):
    """The clipped value loss with how many tokens the clip decided."""

    loss: Tensor  # ()
    clipped: Tensor  # ()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens; 0 where there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale real tokens to unit variance and, unless told not to, zero mean; padding becomes 0."""
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    if not shift_mean:
        whitened = whitened + mean
    return whitened * mask


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log p - log q by token: unbiased, may be negative; the one to use inside a reward."""
    return logprobs - ref_logprobs


def approx_kl(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared log-ratio over real tokens: how far the step has moved from the roll-out policy."""
    return 0.5 * masked_mean((logprobs - old_logprobs) ** 2, mask)


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """The reward by token: minus `kl_coef` times KL everywhere, the score (B,) added at the last real token.

    A row without real tokens gets no reward.
    """
    rewards = -kl_coef * kl * mask
    lengths = mask.sum(dim=1).long()
    rows = (lengths > 0).nonzero()[:, 0]
    rewards[rows, lengths[rows] - 1] += scores[rows].to(rewards.dtype)
    return rewards


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """GAE by token: (advantages, returns), both (B, R) and 0 on padding; the value after the last token is 0."""
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(rewards)
    carry = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        after = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(carry)
        delta = rewards[:, t] + gamma * after - values[:, t]
        carry = (delta + gamma * lam * carry) * mask[:, t]
        advantages[:, t] = carry
    return advantages, (advantages + values) * mask


def leave_one_out(scores: Tensor, group: int) -> Tensor:
    """Scores (B,) less the mean score of the other answers to the same prompt (RLOO, arXiv:2402.14740).

    Answers to one prompt stand together, `group` of them; with `group` 1 the scores return unchanged.
    """
    if group == 1:
        return scores
    grouped = scores.view(-1, group)
    others = (grouped.sum(dim=1, keepdim=True) - grouped) / (group - 1)
    return (grouped - others).flatten()


def cautious_scores(ensemble: Tensor, caution: float) -> Tensor:
    """Mean score (B,) of an ensemble (K, B) less `caution` times its spread, the deviation over the K members.

    Where the members disagree, the answers are unlike those that were judged, and a high mean is worth less
    (Coste et al. 2023, arXiv:2310.02743). A single member has no spread.
    """
    return ensemble.mean(0) - caution * ensemble.std(0, correction=0)


def importance_weights(logprobs: Tensor, sampled: Tensor, mask: Tensor, *, cap: float) -> Tensor:
    """min(exp(log p in training - log p in sampling), cap) on real tokens, 0 on padding.

    A sampler that rounds otherwise than training draws from a slightly other policy. Its tokens are weighted by how
    much likelier training holds them; the cap keeps the variance finite (truncated importance sampling, Ionides 2008,
    doi:10.1198/106186008X320456). Where both agree every weight is 1.
    """
    return (logprobs - sampled).exp().clamp(max=cap) * mask


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    cliprange: float,
    tokens: Tensor,
    weights: Tensor | None = None,
) -> PolicyLoss:
    """PPO's clipped loss. `tokens` counts the real tokens of the whole optimizer step, so that accumulating
    over parts gives the gradient of the whole. `weights` (B, R) correct for another sampler than the policy.
    """
    log_ratio = (logprobs - old_logprobs).clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    bounded = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    counted = mask if weights is None else mask * weights
    loss = (torch.maximum(plain, bounded) * counted).sum() / tokens
    return PolicyLoss(loss, ((bounded > plain) * mask).sum(), ratio)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, cliprange: float, tokens: Tensor
) -> ValueLoss:
    """Half the squared error, where a move of more than `cliprange` from the old value earns nothing."""
    bounded = old_values + (values - old_values).clamp(-cliprange, cliprange)
    plain_error, bounded_error = (values - returns) ** 2, (bounded - returns) ** 2
    loss = 0.5 * (torch.maximum(plain_error, bounded_error) * mask).sum() / tokens
    return ValueLoss(loss, ((bounded_error > plain_error) * mask).sum())


def adapt_kl_coef(kl_coef: float, kl: float, *, target: float, samples: int, horizon: int) -> float:
    """The controller of Ziegler et al.: raise the coefficient when KL exceeds its target, lower it below.

    `kl` is nats an answer; the error is limited to 20 % so that one odd roll-out cannot move it far.
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * samples / horizon)


def penalize_unfinished(scores: Tensor, finished: Tensor, penalty: float) -> Tensor:
    """Scores (B,) less `penalty` for each answer (finished False) that the length limit cut off."""
    return scores - penalty * (~finished).to(scores.dtype)
