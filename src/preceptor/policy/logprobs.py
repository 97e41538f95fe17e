"""Final hidden states and an output matrix go in, log-probabilities of the chosen words come out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preceptor.modeling.products import product

_CELL = 256


def token_logprobs(
    hidden: Tensor, head: Tensor, tokens: Tensor, *, temperature: float = 1.0, precision: str = "float32"
) -> Tensor:
    """Log-probability (N,) of each token from its hidden state (N, d) under softmax(hidden head^T / temperature).

    Differentiable in `hidden`, and in `head` where that needs it. The (N, V) matrix exists once, in the given
    precision; the chosen word's own logit and the sum of the rest are taken in float32.
    """
    dtype = getattr(torch, precision)
    apply: Any = _TokenLogProbs.apply
    result: Tensor = apply((hidden / temperature).to(dtype), head.to(dtype), tokens.to(hidden.device))[0]
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
    weight, tokens = head.to(dtype), tokens.to(hidden.device)
    return torch.cat(
        [
            _forward((states / temperature).to(dtype), weight, words)[0]
            for states, words in zip(torch.split(hidden, chunk), torch.split(tokens, chunk), strict=True)
        ]
    )


def _forward(hidden: Tensor, head: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logits = product(hidden, head)  # (N, V)
    top = logits.amax(-1, keepdim=True)
    exponentials = logits.sub_(top).exp_()
    mass = sum_words(exponentials)  # (N,)
    own = (hidden.float() * head[tokens].float()).sum(-1)  # (N,)
    return own - top[:, 0].float() - mass.log(), exponentials, mass


def sum_words(values: Tensor) -> Tensor:
    """Sums (N,) over words (N, V) in float32.

    In bfloat16 the cells of 256 words are summed first, which torch does in float32 inside; a plain sum in float32
    would copy the whole matrix and take 30 times as long.
    """
    if values.dtype == torch.float32 or values.shape[1] % _CELL:
        return values.sum(-1, dtype=torch.float32)
    return values.view(len(values), -1, _CELL).sum(-1).sum(-1, dtype=torch.float32)


class _TokenLogProbs(torch.autograd.Function):
    """d logp / d logit = onehot - softmax, so the backward pass is one product with the kept exponentials."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logprobs, exponentials, mass = _forward(hidden, head, tokens)
        ctx.save_for_backward(hidden, head, tokens, exponentials, mass)
        return logprobs, mass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, head, tokens, exponentials, mass = ctx.saved_tensors
        scale = gradients[0]  # (N,)
        for_hidden = for_head = None
        if ctx.needs_input_grad[0]:
            expected = product(exponentials, head.T).float() / mass[:, None]  # (N, d)
            for_hidden = (scale[:, None] * (head[tokens].float() - expected)).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            weighted = hidden * scale[:, None].to(hidden.dtype)
            share = -weighted / mass[:, None].to(hidden.dtype)
            for_head = product(exponentials.T, share.T)  # (V, d)
            for_head.index_add_(0, tokens, weighted)
        return for_hidden, for_head, None
