"""The arithmetic of PPO against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.policy import losses

MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])


def test_advantages_of_three_steps_match_a_hand_computation() -> None:
    rewards = torch.tensor([[1.0, 0.0, 2.0]])
    values = torch.tensor([[0.5, 1.0, 1.5]])
    advantages, returns = losses.generalized_advantages(rewards, values, torch.ones(1, 3), gamma=0.9, lam=0.8)
    # deltas: 2 - 1.5 = 0.5; 0 + 0.9 * 1.5 - 1 = 0.35; 1 + 0.9 * 1 - 0.5 = 1.4
    third, second = 0.5, 0.35 + 0.72 * 0.5
    first = 1.4 + 0.72 * second
    torch.testing.assert_close(advantages, torch.tensor([[first, second, third]]))
    torch.testing.assert_close(returns, advantages + values)


def test_the_mean_over_no_tokens_is_zero() -> None:
    assert float(losses.masked_mean(torch.ones(2, 3), torch.zeros(2, 3))) == 0


def test_with_lambda_and_gamma_one_the_return_is_the_sum_of_rewards_to_come() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    _, returns = losses.generalized_advantages(rewards, torch.randn(1, 3), torch.ones(1, 3), gamma=1.0, lam=1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.0, 6.0, 4.0]]))


def test_what_stands_on_padding_changes_no_advantage() -> None:
    rewards, values = torch.randn(2, 3), torch.randn(2, 3)
    clean = losses.generalized_advantages(rewards, values, MASK, gamma=1.0, lam=0.95)
    dirty = losses.generalized_advantages(
        torch.where(MASK > 0, rewards, 99.0), torch.where(MASK > 0, values, -99.0), MASK, gamma=1.0, lam=0.95
    )
    for a, b in zip(clean, dirty, strict=True):
        torch.testing.assert_close(a, b)
    assert clean[0][1, 1:].abs().sum() == 0


def test_the_score_is_added_at_the_last_real_token_and_kl_at_every_one() -> None:
    kl = torch.tensor([[0.1, 0.2, 0.3], [0.4, 7.0, 7.0]])
    rewards = losses.token_rewards(torch.tensor([2.0, -1.0]), kl, MASK, kl_coef=0.5)
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, -0.1, 1.85], [-1.2, 0.0, 0.0]]))


def test_a_row_without_tokens_gets_no_reward() -> None:
    rewards = losses.token_rewards(torch.tensor([3.0]), torch.zeros(1, 2), torch.zeros(1, 2), kl_coef=0.1)
    assert rewards.abs().sum() == 0


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=12))
@settings(max_examples=50, deadline=None)
def test_whitened_values_have_mean_zero_and_deviation_one_over_real_tokens(numbers: list[float]) -> None:
    values = torch.tensor([[*numbers, 1e6]], dtype=torch.float64)  # the last one is padding
    mask = torch.ones_like(values)
    mask[0, -1] = 0
    whitened = losses.masked_whiten(values, mask)
    assert whitened[0, -1] == 0
    assert abs(float(losses.masked_mean(whitened, mask))) < 1e-6
    spread = float(losses.masked_mean((values - losses.masked_mean(values, mask)) ** 2, mask))
    if spread > 1e-3:
        assert float(losses.masked_mean(whitened**2, mask)) == pytest.approx(1.0, abs=1e-4)


def test_whitening_without_shift_keeps_the_mean() -> None:
    values = torch.tensor([[1.0, 3.0, 5.0]])
    mask = torch.ones(1, 3)
    kept = losses.masked_whiten(values, mask, shift_mean=False)
    assert float(kept.mean()) == pytest.approx(3.0)
    assert float(((kept - 3.0) ** 2).mean()) == pytest.approx(1.0)


def test_the_policy_loss_is_clipped_on_the_side_that_would_gain() -> None:
    old = torch.zeros(1, 4)
    new = torch.log(torch.tensor([[1.5, 0.5, 1.5, 0.5]]))
    advantages = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    result = losses.policy_loss(new, old, advantages, torch.ones(1, 4), cliprange=0.2, tokens=torch.tensor(4.0))
    # -1.2 (clipped), -0.5, +1.5, +0.8 (clipped)
    assert float(result.loss) == pytest.approx((-1.2 - 0.5 + 1.5 + 0.8) / 4)
    assert float(result.clipped) == 2


def test_tokens_within_the_clip_and_padding_are_not_counted_as_clipped() -> None:
    tokens, one, mask = torch.tensor(2.0), torch.ones(1, 3), torch.tensor([[1.0, 1.0, 0.0]])
    new = torch.log(torch.tensor([[1.1, 1.5, 9.0]]))
    policy = losses.policy_loss(new, torch.zeros(1, 3), one, mask, cliprange=0.2, tokens=tokens)
    assert (float(policy.loss), float(policy.clipped)) == (pytest.approx((-1.1 - 1.2) / 2), 1)
    values, returns = torch.tensor([[0.1, 1.0, 9.0]]), torch.tensor([[1.0, 1.0, 9.0]])
    value = losses.value_loss(values, torch.zeros(1, 3), returns, mask, cliprange=0.2, tokens=tokens)
    assert (float(value.loss), float(value.clipped)) == (pytest.approx(0.5 * (0.81 + 0.64) / 2), 1)


def test_the_gradient_of_a_clipped_token_is_zero() -> None:
    new = torch.log(torch.tensor([[1.5, 1.1]])).requires_grad_()
    ones = torch.ones(1, 2)
    losses.policy_loss(new, torch.zeros(1, 2), ones, ones, cliprange=0.2, tokens=torch.tensor(2.0)).loss.backward()
    assert new.grad is not None
    assert new.grad[0, 0] == 0
    assert float(new.grad[0, 1]) == pytest.approx(-1.1 / 2)


def test_a_huge_log_ratio_stays_finite() -> None:
    new = torch.full((1, 1), 500.0)
    ones = torch.ones(1, 1)
    result = losses.policy_loss(new, torch.zeros(1, 1), -ones, ones, cliprange=0.2, tokens=torch.tensor(1.0))
    assert torch.isfinite(result.loss)
    assert losses.importance_weights(new, -new, ones, cap=2.0).tolist() == [[2.0]]
    assert losses.importance_weights(-new, new, ones, cap=2.0).tolist() == [[0.0]]


def test_the_value_loss_takes_the_larger_of_plain_and_clipped_error() -> None:
    values, old = torch.tensor([[2.0, 0.1]]), torch.tensor([[0.0, 0.0]])
    returns = torch.tensor([[2.0, 1.0]])
    result = losses.value_loss(values, old, returns, torch.ones(1, 2), cliprange=0.2, tokens=torch.tensor(2.0))
    # first: plain 0, clipped (0.2 - 2)^2 = 3.24; second: within the clip, (0.1 - 1)^2 = 0.81
    assert float(result.loss) == pytest.approx(0.5 * (3.24 + 0.81) / 2)
    assert float(result.clipped) == 1


def test_the_kl_estimator_agrees_with_the_exact_kl_on_a_small_distribution() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
    exact = float((p * (p / q).log()).sum())
    assert float((p * losses.kl_k1(p.log(), q.log())).sum()) == pytest.approx(exact, rel=1e-5)


def test_approximate_kl_ignores_padding() -> None:
    new = torch.tensor([[0.2, 0.0, 0.0], [0.4, 5.0, 5.0]])
    assert float(losses.approx_kl(new, torch.zeros(2, 3), MASK)) == pytest.approx(0.5 * (0.04 + 0.16) / 4)


@pytest.mark.parametrize(("kl", "expected"), [(12.0, 1.2), (6.6, 1.1), (6.0, 1.0), (0.0, 0.8), (1e9, 1.2)])
def test_the_kl_coefficient_moves_toward_its_target_by_a_fifth_at_most(kl: float, expected: float) -> None:
    assert losses.adapt_kl_coef(1.0, kl, target=6.0, samples=100, horizon=100) == pytest.approx(expected)


def test_the_kl_coefficient_moves_less_for_fewer_samples() -> None:
    assert losses.adapt_kl_coef(1.0, 12.0, target=6.0, samples=10, horizon=100) == pytest.approx(1.02)


def test_only_unfinished_answers_are_penalized() -> None:
    scores = losses.penalize_unfinished(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), penalty=0.5)
    assert scores.tolist() == [1.0, 0.5]


def test_the_baseline_of_an_answer_is_the_mean_of_the_others() -> None:
    left = losses.leave_one_out(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]), 3)
    assert left.tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0, 0, 0]
    assert losses.leave_one_out(torch.tensor([1.0, 2.0]), 1).tolist() == [1.0, 2.0]


def test_ratio_one_gives_the_policy_gradient() -> None:
    logprobs = torch.full((1, 3), math.log(0.3)).requires_grad_()
    advantages = torch.tensor([[1.0, -2.0, 0.5]])
    ones = torch.ones(1, 3)
    losses.policy_loss(
        logprobs, logprobs.detach(), advantages, ones, cliprange=0.2, tokens=torch.tensor(3.0)
    ).loss.backward()
    torch.testing.assert_close(logprobs.grad, -advantages / 3)


def test_importance_weights_are_capped_ratios_and_1_where_sampler_and_training_agree() -> None:
    sampled = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, 9.0, 9.0]])
    trained = torch.tensor([[-1.0, -2.0 + math.log(1.5), -3.0 + math.log(4.0)], [-0.5 + math.log(0.25), 1.0, 1.0]])
    weights = losses.importance_weights(trained, sampled, MASK, cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 1.5, 2.0], [0.25, 0.0, 0.0]]))
    torch.testing.assert_close(losses.importance_weights(sampled, sampled, MASK, cap=2.0), MASK)


def test_the_policy_loss_weighs_each_token_by_its_importance() -> None:
    old, mask = torch.zeros(1, 3), torch.ones(1, 3)
    advantages = torch.tensor([[1.0, -2.0, 3.0]])
    new = torch.tensor([[math.log(1.1), math.log(0.5), 0.0]], requires_grad=True)
    # terms: -1.1; max(2 * 0.5, 2 * 0.8) = 1.6; -3
    weights = torch.tensor([[1.0, 0.5, 2.0]])
    loss = losses.policy_loss(new, old, advantages, mask, cliprange=0.2, tokens=torch.tensor(3.0), weights=weights).loss
    torch.testing.assert_close(loss.detach(), torch.tensor((-1.1 + 0.8 - 6.0) / 3))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(new.grad, torch.tensor([[-1.1 / 3, 0.0, -2.0]]))
