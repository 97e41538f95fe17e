"""Prompts go in, sampled answers come out; the same seed gives the same answers whatever the batch size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preceptor.errors import InputError
from preceptor.modeling.decoders import Decoder, make_decoder
from preceptor.modeling.policy_model import context_length, eos_ids
from preceptor.modeling.sequences import encode_prompt

logger = logging.getLogger(__name__)

_CHUNK = 256  # words a cell when the cumulated probability is searched in two levels
_COMPACT_BELOW = 0.8  # finished rows leave the batch once this share of rows is still under way


@dataclass
class LowerStates:
    """The output of a model's lowest `layers` layers for every token that sampling read, kept on the way.

    The last token of an answer is never read, so an answer of R tokens leaves R - 1 states.
    """

    layers: int
    prompts: dict[int, Tensor] = field(default_factory=dict)  # prompt number -> (P, d)
    answers: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # with the answer's index -> (R - 1, d)


@dataclass(frozen=True)
class Completion:
    """One sampled answer; `token_ids` ends with the end token when `finished`."""

    text: str
    token_ids: list[int]
    finished: bool


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    n: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Completion]]:
    """Sample `n` answers of at most `max_new_tokens` tokens to each prompt; temperature 0 takes the likeliest word.

    `batch_size` counts answers under way together. Prompts that do not fit the model's context beside the
    answer keep their end, and how many were cut is logged. `progress(done, total)` counts answers.
    Raises InputError for values out of range.
    """
    room = context_length(model) - max_new_tokens
    if room < 1:
        raise InputError(f"max_new_tokens {max_new_tokens} fills the model's context: lower it.")
    encoded = [encode_prompt(tokenizer, prompt, room) for prompt in prompts]
    cut = sum(1 for _, removed in encoded if removed)
    if cut:
        logger.warning("%d of %d prompts were longer than the model's context and kept their end.", cut, len(prompts))
    sampled = generate_ids(
        model,
        [ids for ids, _ in encoded],
        eos=eos_ids(model, tokenizer),
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    stops = set(eos_ids(model, tokenizer))
    return [
        [Completion(tokenizer.decode(ids, skip_special_tokens=True).strip(), ids, ids[-1] in stops) for ids in answers]
        for answers in sampled
    ]


@torch.no_grad()
def generate_ids(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    eos: Sequence[int],
    n: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    keep: LowerStates | None = None,
) -> list[list[list[int]]]:
    """Sample `n` token sequences for each prompt's ids; each ends with an `eos` id or at `max_new_tokens`.

    Each answer draws from its own stream, seeded by (seed, prompt number, answer index), so neither the batch
    size nor the other prompts change it beyond rounding. `streams` numbers the prompts; by default their places do.
    Prompts of like length share a batch. `keep` is filled with states, for `is_plain_llama` models only.
    """
    if n < 1 or max_new_tokens < 1 or batch_size < 1:
        raise InputError("n, max_new_tokens and batch_size must be at least 1.")
    if seed < 0:
        raise InputError(f"seed {seed} must be 0 or more.")
    if temperature < 0 or not 0 < top_p <= 1:
        raise InputError(f"temperature {temperature} must be 0 or more, and top_p {top_p} above 0 and at most 1.")
    if any(not ids for ids in prompts):
        raise InputError("A prompt has no tokens: empty prompts cannot be answered.")
    decoder = make_decoder(model, keep_layers=keep.layers if keep else None)
    answers: list[list[list[int]]] = [[] for _ in prompts]
    numbers = range(len(prompts)) if streams is None else streams
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    at_once = max(1, batch_size // n)
    done = 0
    for start in range(0, len(order), at_once):
        chosen = order[start : start + at_once]
        uniforms = np.stack(
            [
                np.random.default_rng([seed, numbers[index], answer]).random(max_new_tokens)
                for index in chosen
                for answer in range(n)
            ]
        )
        ids, mask = (tensor.to(decoder.device) for tensor in pad_left([prompts[i] for i in chosen]))
        logits = decoder.prefill(ids, mask, max_new_tokens)
        if keep is not None and decoder.states is not None:
            for place, index in enumerate(chosen):
                keep.prompts[numbers[index]] = decoder.states[place, -len(prompts[index]) :]
        if n > 1:
            rows = torch.arange(len(chosen)).repeat_interleave(n).to(decoder.device)
            decoder.select(rows)
            logits = logits[rows]
        rows_out, states = _run(decoder, logits, torch.from_numpy(uniforms), eos, temperature, top_p)
        for place, index in enumerate(chosen):
            answers[index] = rows_out[place * n : (place + 1) * n]
            if keep is not None and states is not None:
                for j, answer_ids in enumerate(answers[index]):
                    keep.answers[numbers[index], j] = states[place * n + j, : len(answer_ids) - 1]
        done += len(chosen) * n
        if progress is not None:
            progress(done, len(prompts) * n)
    return answers


def pad_left(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (B, longest row), padded on the left with id 0 under a 0 of the mask."""
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return ids, mask


def _run(
    decoder: Decoder, logits: Tensor, uniforms: Tensor, eos: Sequence[int], temperature: float, top_p: float
) -> tuple[list[list[int]], Tensor | None]:
    """Sample until every row has ended; rows that ended leave the batch.

    Returns the token ids by row, and the decoder's states (rows, steps, d) where it keeps them.
    """
    total, steps = uniforms.shape
    out: list[list[int]] = [[] for _ in range(total)]
    kept = decoder.states
    states = None if kept is None else kept.new_zeros(total, steps, kept.shape[-1])
    # who is under way is counted on the CPU, so that an accelerator is waited for once a step
    stops = torch.tensor(list(eos))
    alive = torch.arange(total)  # which answer each row of the batch is
    running = torch.ones(total, dtype=torch.bool)  # of the rows in the batch
    for step in range(steps):
        numbers = uniforms[alive, step].to(logits.device)
        tokens = sample(logits, numbers, temperature=temperature, top_p=top_p)
        drawn = tokens.cpu()
        for row, token in zip(alive[running].tolist(), drawn[running].tolist(), strict=True):
            out[row].append(token)
        running &= ~torch.isin(drawn, stops)
        left = int(running.sum())
        if left == 0 or step == steps - 1:
            break
        if left < _COMPACT_BELOW * len(alive):
            rows = running.nonzero()[:, 0]
            kept_rows = rows.to(decoder.device)
            decoder.select(kept_rows)
            alive, tokens, running = alive[rows], tokens[kept_rows], running[rows]
        logits = decoder.step(tokens)
        if states is not None and decoder.states is not None:
            states[alive.to(states.device), step] = decoder.states
    return out, states


def sample(logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Draw one word a row from `softmax(logits / temperature)` (B, V) with a uniform number a row (B,).

    The inverse of the cumulated distribution is searched in cells of 256 words, then inside the cell: exact,
    and far cheaper than one random number a word.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if temperature != 1:
        logits = logits / temperature
    # not normalized: what follows only compares masses, and in the model's own precision this costs a third
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    order = None
    if top_p < 1:
        weights, order = weights.float().sort(dim=-1, descending=True)
        before = weights.cumsum(-1) - weights
        weights = weights.masked_fill(before >= top_p * weights.sum(-1, keepdim=True), 0.0)
    batch, words = weights.shape
    cells = torch.nn.functional.pad(weights, (0, -words % _CHUNK)).view(batch, -1, _CHUNK)  # (B, cells, 256)
    mass = cells.sum(-1).to(torch.float64)  # (B, cells)
    reached = mass.cumsum(-1)
    target = uniforms.to(torch.float64) * reached[:, -1]
    rows = torch.arange(batch, device=logits.device)
    cell = torch.searchsorted(reached, target[:, None], right=True)[:, 0].clamp(max=mass.shape[1] - 1)  # (B,)
    share = (target - reached[rows, cell] + mass[rows, cell]) / mass[rows, cell]  # of the way through the cell
    inside = cells[rows, cell].to(torch.float64).cumsum(-1)  # (B, 256)
    offset = torch.searchsorted(inside, (share * inside[:, -1])[:, None], right=True)[:, 0]
    # rounding may point one past the last word that has any mass
    last = (cells[rows, cell] > 0).long().cumsum(-1).argmax(-1)
    drawn = cell * _CHUNK + torch.minimum(offset, last)
    return drawn if order is None else order[rows, drawn]
