"""Pairs go in as text, token ids come out, once; each epoch is an order of batches drawn from its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preceptor.modeling.sequences import EncodedPair, encode_pair
from preceptor.reward.dataset import Pair


@dataclass(frozen=True)
class EncodedPairs:
    """Chosen and rejected answers with their prompt, as token ids, and how many answers and prompts lost tokens."""

    chosen: list[EncodedPair]
    rejected: list[EncodedPair]
    cut_prompts: int
    cut_responses: int

    def rows(self, indices: Sequence[int]) -> list[EncodedPair]:
        """The chosen answers of these pairs, then the rejected ones: (2N,)."""
        return [self.chosen[i] for i in indices] + [self.rejected[i] for i in indices]


def encode_pairs(tokenizer: Any, pairs: Sequence[Pair], *, max_length: int) -> EncodedPairs:
    """Tokenize once, under the same truncation policy as scoring."""
    chosen = [encode_pair(tokenizer, pair.prompt, pair.chosen, max_length) for pair in pairs]
    rejected = [encode_pair(tokenizer, pair.prompt, pair.rejected, max_length) for pair in pairs]
    return EncodedPairs(
        chosen,
        rejected,
        cut_prompts=sum(row.cut_prompt > 0 for row in chosen + rejected),
        cut_responses=sum(row.cut_response > 0 for row in chosen + rejected),
    )


def epoch_batches(count: int, *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Every pair once, in an order that depends on seed and epoch only, so a resumed run meets the same batches."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size].tolist() for start in range(0, count, batch_size)]


def batch_parts(pairs: EncodedPairs, batch: Sequence[int], *, tokens: int) -> list[list[int]]:
    """A batch in parts of pairs of like length, each of at most `tokens` tokens (or one pair): what memory holds."""
    sizes = {index: len(pairs.chosen[index].ids) + len(pairs.rejected[index].ids) for index in batch}
    parts: list[list[int]] = []
    room = 0
    for index in sorted(batch, key=lambda index: sizes[index]):
        if not parts or sizes[index] > room:
            parts.append([])
            room = tokens
        parts[-1].append(index)
        room -= sizes[index]
    return parts
