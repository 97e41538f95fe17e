"""A BERT classifier over texts laid end to end gives the scores and gradients of its own padded forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from preceptor.modeling.classifier import _padded_scores, distinct_rows, forward_scores
from preceptor.modeling.packed_bert import is_plain_bert, packed_scores
from preceptor.modeling.sequences import EncodedPair

LENGTHS = (7, 40, 3, 23, 40)


def bert(**settings: Any) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    shape = {"vocab_size": 50, "max_position_embeddings": 48, "num_labels": 1}
    return BertForSequenceClassification(BertConfig(**sizes, **shape, **settings)).eval()


def texts(*, typed: bool = True) -> list[EncodedPair]:
    draw = torch.Generator().manual_seed(1)
    rows = []
    for length in LENGTHS:
        ids = torch.randint(1, 50, (length,), generator=draw).tolist()
        types = [0] * (length // 2) + [1] * (length - length // 2)
        rows.append(EncodedPair(ids, types if typed else None, 0, 0))
    return rows


def gradients(model: Any, scores: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss that no two rows enter alike."""
    model.zero_grad()
    (scores * torch.arange(1.0, len(scores) + 1)).tanh().sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("typed", [True, False])
def test_scores_and_gradients_are_those_of_the_padded_forward(typed: bool) -> None:
    model, rows = bert(), texts(typed=typed)
    assert is_plain_bert(model)
    expected, found = _padded_scores(model, rows), packed_scores(model, rows)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert expected.std() > 1e-3  # else any constant would pass
    plain = gradients(model, expected)
    assert all(value.abs().max() > 0 for value in plain.values())
    for name, value in gradients(model, packed_scores(model, rows)).items():
        torch.testing.assert_close(value, plain[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_a_text_scores_the_same_in_any_company() -> None:
    model, rows = bert(), texts()
    alone = torch.cat([packed_scores(model, [row]) for row in rows])
    torch.testing.assert_close(packed_scores(model, rows), alone, rtol=1e-5, atol=1e-6)


def test_models_that_it_does_not_compute_are_left_to_their_own_forward() -> None:
    assert not is_plain_bert(bert().train())
    assert not is_plain_bert(bert(is_decoder=True))
    assert not is_plain_bert(torch.nn.Linear(2, 1))


def test_a_repeated_row_is_computed_once_and_counts_in_the_gradient_as_often_as_it_stands() -> None:
    model, rows = bert(), texts()
    repeated = [rows[0], rows[1], rows[0], rows[2], rows[1]]
    kept, which = distinct_rows(repeated)
    assert kept == rows[:3]
    assert which == [0, 1, 0, 2, 1]
    expected = gradients(model, _padded_scores(model, repeated))
    for name, value in gradients(model, forward_scores(model, repeated, bfloat16=False)).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_rows_that_differ_in_their_token_types_alone_are_not_the_same() -> None:
    ids = [3, 4, 5, 6]
    kept, _ = distinct_rows([EncodedPair(ids, [0, 0, 1, 1], 0, 0), EncodedPair(ids, [0, 1, 1, 1], 0, 0)])
    assert len(kept) == 2


def test_bfloat16_scores_are_those_of_the_padded_forward_to_its_precision() -> None:
    model, rows = bert(), texts()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = _padded_scores(model, rows), packed_scores(model, rows)
    torch.testing.assert_close(found.float(), expected.float(), rtol=0.0, atol=0.01)
