"""Final hidden states and an output matrix go in, log-probabilities of the chosen words come out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def token_logprobs(
    hidden: Tensor, head: Tensor, tokens: Tensor, *, temperature: float = 1.0, precision: str = "float32"
) -> Tensor:
    """Log-probability (N,) of each token from its hidden state (N, d) under softmax(hidden head^T / temperature).

    Differentiable in `hidden`, and in `head` where that needs it. The (N, V) matrix exists once, in the given
    precision; the chosen word's own logit and the sum of the rest are taken in float32.
    """
    dtype = getattr(torch, precision)
    apply: Any = _TokenLogProbs.apply
    result: Tensor = apply(hidden.to(dtype), head.to(dtype), tokens, temperature)[0]
    return result


@torch.no_grad()
def frozen_logprobs(
    hidden: Tensor,
    head: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    precision: str = "float32",
    chunk: int = 1024,
) -> Tensor:
    """The same log-probabilities without gradient, `chunk` tokens at a time."""
    dtype = getattr(torch, precision)
    weight = head.to(dtype)
    return torch.cat(
        [
            _forward(states.to(dtype), weight, words, temperature)[0]
            for states, words in zip(torch.split(hidden, chunk), torch.split(tokens, chunk), strict=True)
        ]
    )


def _forward(hidden: Tensor, head: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, ...]:
    logits = hidden @ head.T  # (N, V)
    if temperature != 1:
        logits = logits / temperature
    top = logits.amax(-1, keepdim=True)
    exponentials = logits.sub_(top).exp_()
    mass = exponentials.sum(-1, dtype=torch.float32)  # (N,)
    own = (hidden.float() * head[tokens].float()).sum(-1) / temperature  # (N,)
    return own - top[:, 0].float() - mass.log(), exponentials, mass


class _TokenLogProbs(torch.autograd.Function):
    """d logp / d logit = onehot - softmax, so the backward pass is one product with the kept exponentials."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logprobs, exponentials, mass = _forward(hidden, head, tokens, temperature)
        ctx.save_for_backward(hidden, head, tokens, exponentials, mass)
        ctx.temperature = temperature
        return logprobs, mass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, head, tokens, exponentials, mass = ctx.saved_tensors
        scale = gradients[0] / ctx.temperature  # (N,)
        for_hidden = for_head = None
        if ctx.needs_input_grad[0]:
            expected = (exponentials @ head).float() / mass[:, None]  # (N, d)
            for_hidden = (scale[:, None] * (head[tokens].float() - expected)).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            weighted = hidden * scale[:, None].to(hidden.dtype)
            for_head = -((exponentials / mass[:, None].to(exponentials.dtype)).T @ weighted)
            for_head.index_add_(0, tokens, weighted)
        return for_hidden, for_head, None, None
