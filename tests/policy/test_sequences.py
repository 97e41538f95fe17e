"""Packing answers behind their prompt: which token sees which, and where each answer token was drawn from."""

from __future__ import annotations

import torch

from preceptor.policy.sequences import pack

PROMPTS = [[10, 11, 12], [20]]
ANSWERS = [[[1, 2], [3]], [[4], [5, 6, 7]]]


def test_tokens_come_back_answer_by_answer() -> None:
    sequences = pack(PROMPTS, ANSWERS)
    assert sequences.tokens().tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert sequences.mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]]


def test_the_first_token_of_every_answer_is_drawn_from_the_prompts_last_state() -> None:
    rows, columns = pack(PROMPTS, ANSWERS).states()
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert columns.tolist() == [2, 3, 2, 0, 0, 2, 3]


def test_positions_go_on_from_the_prompt_in_each_answer() -> None:
    assert pack(PROMPTS, ANSWERS).positions.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 1, 2, 3, 0]]


def test_answers_see_the_prompt_and_themselves_but_not_each_other() -> None:
    attention = pack(PROMPTS, ANSWERS).attention()
    assert attention is not None
    sees = attention[0, 0]
    assert sees[4].tolist() == [True, True, True, True, True, False]
    assert sees[5].tolist() == [True, True, True, False, False, True]
    assert not sees[0, 1:].any()


def test_single_answers_need_no_attention_mask() -> None:
    assert pack([[1, 2]], [[[3]]]).attention() is None


def test_padding_values_and_selecting_rows_round_trip() -> None:
    sequences = pack(PROMPTS, ANSWERS)
    flat = torch.arange(1.0, 8.0)
    wide = sequences.padded(flat)
    assert wide.tolist() == [[1, 2, 0], [3, 0, 0], [4, 0, 0], [5, 6, 7]]
    part = sequences.select(torch.tensor([1]))
    assert part.tokens().tolist() == [4, 5, 6, 7]
    assert part.ids.shape == (1, 5)
    assert sequences.answers_of(torch.tensor([1])).tolist() == [2, 3]


def test_the_real_tokens_are_counted_row_by_row() -> None:
    sequences = pack(PROMPTS, ANSWERS)
    rows, columns = sequences.real()
    assert torch.bincount(rows).tolist() == sequences.row_lengths().tolist() == [6, 5]
    assert columns.tolist() == [*range(6), *range(5)]
