"""Attention over texts laid end to end is PyTorch's own, text by text, and so are its gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from preceptor.modeling.packed_attention import attend

HEADS, WIDTH, LENGTHS = 2, 6, [5, 1, 3]


def drawn(queries: list[int], dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    rows = (sum(queries), sum(LENGTHS), sum(LENGTHS))
    return [torch.randn(count, HEADS * WIDTH, dtype=dtype).requires_grad_() for count in rows]


def text_by_text(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, queries: list[int]) -> torch.Tensor:
    parts = []
    for some in zip(q.split(queries), k.split(LENGTHS), v.split(LENGTHS), strict=True):
        heads = (x.view(1, len(x), HEADS, WIDTH).transpose(1, 2) for x in some)
        mixed = functional.scaled_dot_product_attention(*heads, scale=1.0)
        parts.append(mixed.transpose(1, 2).flatten(2)[0])
    return torch.cat(parts)


@pytest.mark.parametrize("queries", [LENGTHS, [1, 1, 1]])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_it_is_pytorchs_attention_of_each_text(queries: list[int], dtype: torch.dtype, within: float) -> None:
    given = drawn(queries, dtype)
    exact = [x.detach().double().requires_grad_() for x in given]
    found = attend(*given, queries=queries, lengths=LENGTHS, heads=HEADS)
    expected = text_by_text(*exact, queries)
    assert found.dtype == dtype
    weight = torch.randn(found.shape, dtype=torch.float64)
    (found.double() * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=within, atol=within)
    for ours, theirs in zip(given, exact, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=within, atol=2 * within)


def test_large_logits_leave_the_weights_finite() -> None:
    q, k, v = drawn(LENGTHS, torch.float32)
    found = attend(q * 1e4, k, v, queries=LENGTHS, lengths=LENGTHS, heads=HEADS)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()
