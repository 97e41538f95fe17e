"""Prompt and answer token ids go in; packed tensors, masks and the places of the answers' states come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PADDING = -1


@dataclass(frozen=True)
class Sequences:
    """G prompts, each followed by its n answers in one row, padded on the right; B = G n answers in all.

    The answers to a prompt do not see each other and each continues the prompt's positions, so a row gives
    what n separate rows would give while the prompt is computed once. All of this is on the CPU, whatever computes:
    who reads it moves it there, and no accelerator is waited for to learn a length.
    """

    ids: Tensor  # (G, T)
    positions: Tensor  # (G, T) position within the prompt and one answer
    segments: Tensor  # (G, T) 0 on the prompt, j on its j-th answer from 1, -1 on padding
    lengths: Tensor  # (G, n) tokens of each answer
    prompt_lengths: Tensor  # (G,)

    @property
    def mask(self) -> Tensor:
        """1 on real answer tokens, (B, R)."""
        lengths = self.lengths.flatten()
        return (torch.arange(int(lengths.max()))[None] < lengths[:, None]).float()

    def attention(self) -> Tensor | None:
        """Which token sees which, (G, 1, T, T) bool; None where plain causal attention says the same."""
        if self.lengths.shape[1] == 1:
            return None  # what stands right of a real token, padding included, is never seen
        size = self.ids.shape[1]
        causal = torch.ones(size, size, dtype=torch.bool).tril()
        own = self.segments[:, :, None] == self.segments[:, None, :]
        prompt = self.segments[:, None, :] == 0
        return (causal & (own | prompt))[:, None]

    def row_lengths(self) -> Tensor:
        """Real tokens of each row, (G,)."""
        return self.prompt_lengths + self.lengths.sum(1)

    def real(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the real tokens, row by row."""
        rows, columns = (self.segments != _PADDING).nonzero(as_tuple=True)
        return rows, columns

    def states(self) -> tuple[Tensor, Tensor]:
        """Rows and columns (N,) of the states from which the N real answer tokens were drawn, answer by answer."""
        rows, columns = self._places()
        first = self.segments[rows, columns - 1] != self.segments[rows, columns]
        # the first token of an answer was drawn from the prompt's last state, wherever the answer stands
        return rows, torch.where(first, self.prompt_lengths[rows] - 1, columns - 1)

    def tokens(self) -> Tensor:
        """The real answer tokens, (N,)."""
        return self.ids[self._places()]

    def padded(self, flat: Tensor) -> Tensor:
        """Values of the N real answer tokens as (B, R), 0 on padding; gradients pass through."""
        mask = self.mask.to(flat.device)
        return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask.bool(), flat)

    def select(self, groups: Tensor) -> Sequences:
        """Some of the prompts with their answers, cut to the longest row."""
        lengths, prompts = self.lengths[groups], self.prompt_lengths[groups]
        width = int((lengths.sum(1) + prompts).max())
        return Sequences(
            self.ids[groups, :width],
            self.positions[groups, :width],
            self.segments[groups, :width],
            lengths,
            prompts,
        )

    def answers_of(self, groups: Tensor) -> Tensor:
        """The numbers of the answers to the given prompts, among all B."""
        n = self.lengths.shape[1]
        return (groups[:, None] * n + torch.arange(n)[None]).flatten()

    def _places(self) -> tuple[Tensor, Tensor]:
        rows, columns = (self.segments > 0).nonzero(as_tuple=True)  # row by row, so answer by answer
        return rows, columns


def pack(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]]) -> Sequences:
    """Put the n answers to each prompt behind it; every prompt and every answer has at least one token."""
    width = max(len(p) + sum(map(len, a)) for p, a in zip(prompts, answers, strict=True))
    shape = (len(prompts), width)
    ids = torch.zeros(shape, dtype=torch.long)
    positions = torch.zeros(shape, dtype=torch.long)
    segments = torch.full(shape, _PADDING)
    for g, (prompt, responses) in enumerate(zip(prompts, answers, strict=True)):
        start = 0
        for segment, part in enumerate([prompt, *responses]):
            place = slice(start, start + len(part))
            ids[g, place] = torch.tensor(part)
            positions[g, place] = torch.arange(len(part)) + (len(prompt) if segment else 0)
            segments[g, place] = segment
            start += len(part)
    lengths = torch.tensor([[len(r) for r in responses] for responses in answers])
    return Sequences(ids, positions, segments, lengths, torch.tensor([len(p) for p in prompts]))
