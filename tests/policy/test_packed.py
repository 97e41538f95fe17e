"""Rows run end to end give what a padded batch gives, and an optimizer step is that of the plain computation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from preceptor.modeling import products
from preceptor.modeling.policy_model import load_policy
from preceptor.policy.blocks import body_of
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.optimize import optimize
from preceptor.policy.packed import run_packed
from preceptor.policy.rollout import Rollout, Targets
from preceptor.policy.sequences import pack

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [9], [10, 11, 12]]
ANSWERS = [[[20, 21, 1]], [[27, 28, 29, 30, 31, 1]], [[32]]]
Config = Callable[..., PolicyConfig]


def _padded(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with their mask, padded on the right."""
    rows = [prompt + answer for prompt, (answer,) in zip(PROMPTS, ANSWERS, strict=True)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_packed_rows_have_the_states_and_gradients_of_a_padded_batch(
    kind: str, small_config: Config, request: pytest.FixtureRequest
) -> None:
    plain, _ = load_policy(request.getfixturevalue(kind))
    model = copy.deepcopy(plain)
    make_networks(model, small_config(mode="full"))
    sequences = pack(PROMPTS, ANSWERS)
    states = run_packed(body_of(model), sequences, input_ids=sequences.ids)
    ids, mask = _padded(plain)
    expected = body_of(plain)(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    assert (states[mask == 0] == 0).all()
    direction = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    (states * direction).sum().backward()
    (expected * direction).sum().backward()
    for (name, found), (_, wanted) in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        if wanted.grad is not None:
            assert found.grad is not None, name
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-3, atol=1e-4 * float(wanted.grad.abs().max()))


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_the_model_still_answers_a_plain_padded_batch(
    kind: str, small_config: Config, request: pytest.FixtureRequest
) -> None:
    plain, _ = load_policy(request.getfixturevalue(kind))
    model = make_networks(copy.deepcopy(plain), small_config(mode="full")).sampler()
    ids, mask = _padded(plain)
    places = {"attention_mask": mask.flip(1), "position_ids": (mask.flip(1).cumsum(1) - 1).clamp(min=0)}
    with torch.no_grad():
        found, wanted = (each(input_ids=ids.flip(1), **places).logits for each in (model, plain))
    torch.testing.assert_close(found[mask.flip(1) > 0], wanted[mask.flip(1) > 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("onednn", [True, False])
def test_a_step_is_that_of_the_plain_computation(
    onednn: bool, small_config: Config, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of `full`, with packed rows, other kernels, policy and values apart, beside one loss in plain torch."""
    if onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products, "_gains", lambda: onednn)
    monkeypatch.setattr(products, "_SMALLEST", 1)
    config = small_config(
        mode="full", batch_size=3, mini_batch_size=3, ppo_epochs=1, max_grad_norm=0.5, early_stopping=False, vf_coef=9.0
    )
    model, _ = load_policy(tiny_gpt2)
    policy, critic, head = copy.deepcopy(model), copy.deepcopy(body_of(model)), torch.nn.Linear(32, 1)
    networks: Any = make_networks(model, config)
    torch.nn.init.ones_(head.weight)
    networks.value_head.load_state_dict(head.state_dict())
    sequences, draw = pack(PROMPTS, ANSWERS), torch.Generator().manual_seed(1)
    mask = sequences.mask
    old, advantages, old_values, returns = (torch.randn(mask.shape, generator=draw) * mask for _ in range(4))
    old = (old * 0.3 - 6) * mask
    rollout = Rollout(sequences, sequences.ids, mask, old, old, old_values)
    optimizer = torch.optim.SGD([p for _, p in [*networks.policy_parameters(), *networks.value_parameters()]], lr=0.1)
    found = optimize(networks, optimizer, rollout, Targets(advantages, returns, returns), config, seed=0)

    ids, seen = _padded(policy)
    logprobs, values = torch.zeros(mask.shape), torch.zeros(mask.shape)
    logits = policy(input_ids=ids, attention_mask=seen).logits
    states = critic(input_ids=ids, attention_mask=seen).last_hidden_state
    for row, (prompt, (answer,)) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        for place, token in enumerate(answer):
            before = len(prompt) + place - 1
            logprobs[row, place] = logits[row, before].log_softmax(-1)[token]
            values[row, place] = head(states[row, before])[0]
    ratio = (logprobs - old).exp()
    clipped = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
    near = old_values + (values - old_values).clamp(-config.cliprange_value, config.cliprange_value)
    error = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    policy_loss, value_loss = ((loss * mask).sum() / mask.sum() for loss in (clipped, 0.5 * error))
    (policy_loss + config.vf_coef * value_loss).backward()
    assert found["loss/policy_avg"] == pytest.approx(float(policy_loss), rel=1e-4)
    assert found["loss/value_avg"] == pytest.approx(float(value_loss), rel=1e-4)
    for trained, plain in ((networks.model, [policy]), (networks.critic, [critic, head])):
        weights = [p for module in plain for p in module.parameters()]
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        torch.optim.SGD(weights, lr=0.1).step()
        for (name, ours), theirs in zip(trained.named_parameters(), plain[0].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(networks.value_head.weight, head.weight, rtol=1e-4, atol=1e-5)
