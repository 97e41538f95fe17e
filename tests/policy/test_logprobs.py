"""Log-probabilities against the plain log-softmax, values and gradients."""

from __future__ import annotations

import pytest
import torch

from preceptor.policy.logprobs import frozen_logprobs, sum_words, token_logprobs


def _inputs(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 16, generator=generator, dtype=dtype)
    head = torch.randn(50, 16, generator=generator, dtype=dtype)
    return hidden, head, torch.randint(0, 50, (7,), generator=generator)


def _plain(hidden: torch.Tensor, head: torch.Tensor, tokens: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.log_softmax(hidden @ head.T / temperature, -1).gather(1, tokens[:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_equal_log_softmax(temperature: float) -> None:
    hidden, head, tokens = _inputs()
    weights = torch.linspace(-1, 1, 7)
    results = []
    for function in (_plain, lambda h, w, t, temp: token_logprobs(h, w, t, temperature=temp)):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        logprobs = function(h, w, tokens, temperature)
        (logprobs * weights).sum().backward()
        results.append((logprobs.detach(), h.grad, w.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_output_matrix_gets_no_gradient() -> None:
    hidden, head, tokens = _inputs()
    hidden.requires_grad_()
    token_logprobs(hidden, head, tokens).sum().backward()
    assert hidden.grad is not None
    assert head.grad is None


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_do_not_change_the_result(temperature: float) -> None:
    hidden, head, tokens = _inputs()
    whole = frozen_logprobs(hidden, head, tokens, temperature=temperature)
    torch.testing.assert_close(frozen_logprobs(hidden, head, tokens, temperature=temperature, chunk=3), whole)
    torch.testing.assert_close(whole, _plain(hidden, head, tokens, temperature), rtol=1e-5, atol=1e-5)


def test_logits_that_no_exponential_holds_give_finite_log_probabilities() -> None:
    hidden, head, tokens = _inputs()
    expected = _plain(100 * hidden, head, tokens, 1.0)
    assert float((100 * hidden @ head.T).max()) > 500
    torch.testing.assert_close(frozen_logprobs(100 * hidden, head, tokens), expected, rtol=1e-5, atol=1e-3)


def test_the_own_logit_of_a_word_is_exact_in_bfloat16_too() -> None:
    hidden, head, _ = _inputs()
    words = torch.arange(len(head))  # of one state, so that what the rest sums to is the same for all
    found = frozen_logprobs(hidden[:1].expand(len(head), -1), head, words, precision="bfloat16")
    exact = (hidden[:1].bfloat16().float() @ head.bfloat16().float().T)[0]
    torch.testing.assert_close(found - found[0], exact - exact[0], rtol=0, atol=1e-4)


def test_many_words_are_summed_beyond_the_digits_of_bfloat16() -> None:
    values = torch.zeros(1, 1024, dtype=torch.bfloat16)
    values[0, :256] = values[0, 256] = values[0, 512] = values[0, 768] = 1.0
    assert sum_words(values).tolist() == [259.0]  # bfloat16 holds 258 and 260


def test_bfloat16_stays_near_float32() -> None:
    hidden, head, tokens = _inputs()
    exact = _plain(hidden.bfloat16().float(), head.bfloat16().float(), tokens, 1.0)
    near = token_logprobs(hidden, head, tokens, precision="bfloat16")
    torch.testing.assert_close(near, exact, rtol=0, atol=0.06)
