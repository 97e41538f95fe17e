"""Rows of unlike length go in, padded; the body runs on their tokens end to end, and padded states come out.

Every layer but attention treats each token alone, so padding is never computed: only attention goes row by row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from preceptor.policy.sequences import Sequences

ATTENTION = "row_by_row"


def attend_row_by_row(model: Any) -> None:
    """Let the model's layers attend within rows when told `row_lengths`, and plainly when not."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)
    model.set_attn_implementation(ATTENTION)


def run_packed(body: Any, sequences: Sequences, **inputs: Tensor) -> Tensor:
    """Final states (G, T, d) of the body, 0 on padding; `inputs` are its ids (G, T) or its embeddings (G, T, d)."""
    rows, columns = sequences.real()
    seen = sequences.attention()
    if seen is None:
        width = sequences.ids.shape[1]
        seen = torch.ones(1, 1, width, width, dtype=torch.bool).tril()
    out: Tensor = body(
        **{name: tensor[rows, columns][None] for name, tensor in inputs.items()},
        attention_mask=torch.zeros(seen.shape).masked_fill(~seen, float("-inf")),
        position_ids=sequences.positions[rows, columns][None],
        row_lengths=sequences.row_lengths().tolist(),
        use_cache=False,
    ).last_hidden_state[0]  # (N, d)
    padded = out.new_zeros(*sequences.ids.shape, out.shape[-1])
    return padded.index_put((rows, columns), out)


def _attention(
    module: Any,
    query: Tensor,  # (1, H, N, D)
    key: Tensor,  # (1, Hk, N, D)
    value: Tensor,
    attention_mask: Tensor | None,  # (1 or G, 1, T, T), added to the scores
    scaling: float | None = None,
    dropout: float = 0.0,
    row_lengths: list[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    del module, dropout  # a policy under PPO never drops out
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if row_lengths is None or attention_mask is None:  # a batch as the model's own forward lays it out
        shared = query.shape[1] // key.shape[1]
        scores = (query * scaling) @ key.repeat_interleave(shared, 1).transpose(2, 3)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
        return (weights @ value.repeat_interleave(shared, 1)).transpose(1, 2), None
    parts = (torch.split(tensor[0], row_lengths, dim=1) for tensor in (query, key, value))
    mixed = [
        _mix(q, k, v, attention_mask[i % len(attention_mask), 0, : q.shape[1], : q.shape[1]], scaling)
        for i, (q, k, v) in enumerate(zip(*parts, strict=True))
    ]
    return torch.cat(mixed)[None], None


def _mix(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scaling: float) -> Tensor:
    """One row: queries (H, L, D) on keys and values (Hk, L, D) under a bias (L, L); (L, H, D)."""
    heads, length, size = query.shape
    # the H / Hk queries that share a key stand under each other: two products in all
    grouped = query.reshape(len(key), -1, size)  # (Hk, L H / Hk, D)
    repeated = bias.to(query.dtype).repeat(heads // len(key), 1)
    scores = torch.baddbmm(repeated, grouped, key.transpose(1, 2), alpha=scaling)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).view(heads, length, size).transpose(0, 1)
