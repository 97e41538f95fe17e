"""What must hold in PPO whatever the weights: ratio 1 and KL 0 at the start, and no effect of how rows are laid out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.errors import ConfigError, DataError
from preceptor.modeling.generate import pad_left
from preceptor.modeling.policy_model import load_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.logprobs import token_logprobs
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import make_optimizer, optimize
from preceptor.policy.rollout import (
    Answers,
    Prompt,
    Rollout,
    compute_targets,
    evaluate_answers,
    sample_answers,
    scale_of,
)
from preceptor.policy.sequences import pack

PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12], [13, 14]]
ANSWERS = [
    [[20, 21, 1], [22, 23, 24, 25], [26, 1]],
    [[27, 28], [29, 30, 1], [31, 1]],
    [[32, 33, 34, 35, 1], [36], [37, 38, 1]],
    [[39, 40], [41, 42, 1], [43]],
]


def _config(**fields: Any) -> PolicyConfig:
    values = {"reward_model": "none", "precision": "float32", "batch_size": 12, "mini_batch_size": 12}
    return PolicyConfig(**{**values, "train_layers": 2, "answers_per_prompt": 3, "early_stopping": False, **fields})


def _networks(folder: Path, config: PolicyConfig) -> Networks:
    model, _ = load_policy(folder)
    return make_networks(model, config)


def _answers() -> Answers:
    flat = [ids for answers in ANSWERS for ids in answers]
    scores = torch.linspace(-1, 2, len(flat))
    finished = torch.tensor([ids[-1] == 1 for ids in flat])
    return Answers([Prompt("", ids) for ids in PROMPTS], ANSWERS, ["" for _ in flat], finished, scores)


def _rollout(networks: Networks, config: PolicyConfig) -> tuple[Rollout, Any]:
    answers = _answers()
    rollout = evaluate_answers(networks, answers, config)
    return rollout, compute_targets(rollout, answers.scores, kl_coef=0.1, config=config)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("mode", "lora_rank"), [("hydra", 0), ("hydra", 2), ("full", 0)])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_ratio_is_one_and_kl_is_zero_before_the_first_step(
    kind: str, mode: str, lora_rank: int, precision: str, request: pytest.FixtureRequest
) -> None:
    config = _config(mode=mode, lora_rank=lora_rank, precision=precision, ppo_epochs=1, mini_batch_size=6)
    networks = _networks(request.getfixturevalue(kind), config)
    rollout, targets = _rollout(networks, config)
    assert (rollout.logprobs[rollout.mask > 0] < 0).all()
    assert (rollout.logprobs - rollout.ref_logprobs).abs().max() == 0
    optimizer = make_optimizer(networks, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # so that every mini-batch is still before the first real step
    metrics = optimize(networks, optimizer, rollout, targets, config, seed=0)
    assert metrics["policy/steps"] == 2
    assert metrics["val/ratio"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["val/ratio_var"] < 1e-8
    assert metrics["policy/approxkl_avg"] < 1e-8
    assert metrics["policy/clipfrac_avg"] == 0


@pytest.mark.parametrize("mode", ["hydra", "full"])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_packed_answers_get_the_log_probabilities_of_separate_left_padded_rows(
    kind: str, mode: str, request: pytest.FixtureRequest
) -> None:
    config = _config(mode=mode)
    folder = request.getfixturevalue(kind)
    rollout, _ = _rollout(_networks(folder, config), config)
    model, _ = load_policy(folder)
    rows = [(prompt, ids) for prompt, answers in zip(PROMPTS, ANSWERS, strict=True) for ids in answers]
    ids, mask = pad_left([prompt + answer for prompt, answer in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    plain = torch.log_softmax(logits[:, :-1], -1).gather(2, ids[:, 1:, None])[:, :, 0]
    for row, (_, answer) in enumerate(rows):
        torch.testing.assert_close(
            rollout.logprobs[row, : len(answer)], plain[row, -len(answer) :], rtol=1e-4, atol=1e-4
        )


def test_temperature_divides_the_logits(tiny_llama: Path) -> None:
    config = _config(temperature=0.5)
    networks = _networks(tiny_llama, config)
    rollout, _ = _rollout(networks, config)
    sequences = pack(PROMPTS, ANSWERS)
    hidden, head = networks.policy(networks.features(sequences), sequences)
    doubled = token_logprobs(hidden * 2, head, sequences.tokens())
    torch.testing.assert_close(sequences.padded(doubled.detach()), rollout.logprobs, rtol=1e-4, atol=1e-4)
    assert torch.equal(rollout.ref_logprobs, rollout.logprobs)  # nothing has moved yet


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_one_batch_of_twelve_equals_four_accumulated_batches_of_three(mode: str, tiny_llama: Path) -> None:
    moved = []
    for fields in (
        {"mini_batch_size": 12, "gradient_accumulation_steps": 1},
        {"mini_batch_size": 3, "gradient_accumulation_steps": 4},
    ):
        config = _config(mode=mode, ppo_epochs=2, learning_rate=1e-2, **fields)
        networks = _networks(tiny_llama, config)
        rollout, targets = _rollout(networks, config)
        # plain gradient descent: a rounding difference is not blown up as AdamW's division would
        optimizer = torch.optim.SGD(
            [p for _, p in [*networks.policy_parameters(), *networks.value_parameters()]], lr=1e-2
        )
        metrics = optimize(networks, optimizer, rollout, targets, config, seed=3)
        assert metrics["policy/steps"] == 2
        moved.append({name: p.detach().clone() for name, p in networks.policy_parameters()})
    before = dict(_networks(tiny_llama, _config(mode=mode)).policy_parameters())
    assert max(float((moved[0][name] - before[name]).abs().max()) for name in before) > 1e-4
    for name in moved[0]:
        torch.testing.assert_close(moved[0][name], moved[1][name], rtol=1e-4, atol=1e-6)


def test_the_pass_in_which_target_kl_is_exceeded_is_the_last_and_means_are_over_what_was_seen(tiny_llama: Path) -> None:
    config = _config(early_stopping=True, target_kl=0.4, ppo_epochs=3, mini_batch_size=3, cliprange_value=9.0)
    networks = _networks(tiny_llama, config)
    rollout, targets = _rollout(networks, config)
    rollout.logprobs[:3] -= 1.0 * rollout.mask[:3]  # the answers to one prompt have a KL of 0.5 a token by now
    optimizer = make_optimizer(networks, config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    rng = np.random.default_rng(11)
    first, second = rng.permutation(4).tolist(), rng.permutation(4).tolist()
    assert first.index(0) == 2  # so that two steps are taken in the first pass
    assert second.index(0) > 0  # and another would be in the second
    metrics = optimize(networks, optimizer, rollout, targets, config, seed=11)
    assert (metrics["policy/steps"], metrics["policy/stopped_early"]) == (2, 1)
    tokens = rollout.sequences.lengths.sum(1).tolist()
    seen = sum(tokens[group] for group in first[:3])
    assert metrics["policy/approxkl_avg"] == pytest.approx(0.5 * tokens[0] / seen, rel=1e-3)
    assert metrics["policy/clipfrac_avg"] <= tokens[0] / seen
    mean = 1 + (np.e - 1) * tokens[0] / seen
    square = 1 + (np.e**2 - 1) * tokens[0] / seen
    assert metrics["val/ratio"] == pytest.approx(mean, rel=1e-3)
    assert metrics["val/ratio_var"] == pytest.approx(square - mean**2, rel=1e-2)
    stepped = torch.zeros_like(rollout.mask)
    for group in first[:2]:
        stepped[3 * group : 3 * group + 3] = rollout.mask[3 * group : 3 * group + 3]
    error = 0.5 * float((((rollout.values - targets.returns) ** 2) * stepped).sum() / stepped.sum())
    assert metrics["loss/value_avg"] == pytest.approx(error, rel=1e-3)


def test_the_rate_rises_in_a_straight_line_to_what_was_asked_for(tiny_llama: Path) -> None:
    for passes, share in ((3, 0.75), (5, 1.0)):
        config = _config(ppo_epochs=passes, warmup_steps=4, learning_rate=1e-3, value_learning_rate=2e-3)
        networks = _networks(tiny_llama, config)
        optimizer = make_optimizer(networks, config)
        optimize(networks, optimizer, *_rollout(networks, config), config, seed=0)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3 * share, 2e-3 * share])


def test_hydra_keeps_a_layer_below_those_that_it_trains(tiny_llama: Path) -> None:
    with pytest.raises(ConfigError, match="train_layers 3 must be at least 1 and below the model's 3"):
        _networks(tiny_llama, _config(train_layers=3))


@pytest.mark.parametrize(("mode", "rate"), [("hydra", 1e-3), ("full", 1e-5)])
def test_a_small_critic_learns_faster_than_a_whole_one(mode: str, rate: float, tiny_llama: Path) -> None:
    config = _config(mode=mode, learning_rate=1e-5)
    rates = [group["lr"] for group in make_optimizer(_networks(tiny_llama, config), config).param_groups]
    assert rates == [1e-5, rate]


@pytest.mark.parametrize("field", ["cliprange", "cliprange_value"])
def test_policy_and_values_have_a_clip_range_each(field: str, tiny_llama: Path) -> None:
    config = _config(ppo_epochs=1, **{"cliprange": 9.0, "cliprange_value": 9.0, field: 1e-3})
    networks = _networks(tiny_llama, config)
    rollout, targets = _rollout(networks, config)
    rollout.logprobs[:] += 0.1 * rollout.mask
    rollout.values[:] += 0.1 * rollout.mask
    found = optimize(networks, make_optimizer(networks, config), rollout, targets, config, seed=0)
    assert (found["policy/clipfrac_avg"] > 0) == (field == "cliprange")
    assert (found["val/clipfrac_avg"] > 0) == (field == "cliprange_value")


def test_a_gradient_that_is_no_number_is_refused_before_the_step(tiny_llama: Path) -> None:
    config = _config(ppo_epochs=1)
    networks = _networks(tiny_llama, config)
    rollout, targets = _rollout(networks, config)
    name, parameter = next(iter(networks.policy_parameters()))
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    before = parameter.detach().clone()
    with pytest.raises(DataError, match="not a number"):
        optimize(networks, make_optimizer(networks, config), rollout, targets, config, seed=0)
    assert torch.equal(parameter, before), name


def test_targets_are_worked_out_by_hand() -> None:
    config = _config(answers_per_prompt=2, gamma=0.9, lam=0.5, whiten_rewards=True)
    mask, values = torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.2, 0.4], [0.1, 0.0]])
    logprobs, ref = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]]), torch.tensor([[-1.5, -2.0], [-2.0, 0.0]])
    rollout = Rollout(pack([[5]], [[[6, 7], [8]]]), torch.zeros(1), mask, logprobs, ref, values)
    found = compute_targets(rollout, torch.tensor([3.0, 1.0]), kl_coef=0.1, config=config)
    plain = np.array([-0.1 * 0.5, 2.0, -2.0 + 0.1])  # of the score, what the other answer to the prompt did not get
    rewards = (plain - plain.mean()) / plain.std() + plain.mean()
    last = rewards[1] - 0.4
    first = rewards[0] + 0.9 * 0.4 - 0.2 + 0.9 * 0.5 * last
    advantages = np.array([first, last, rewards[2] - 0.1])
    real = mask > 0
    np.testing.assert_allclose(found.rewards[real], rewards, rtol=1e-5)
    np.testing.assert_allclose(found.returns[real], advantages + np.array([0.2, 0.4, 0.1]), rtol=1e-5)
    np.testing.assert_allclose(found.advantages[real], (advantages - advantages.mean()) / advantages.std(), rtol=1e-4)


def test_scores_are_scaled_by_those_of_the_first_roll_out() -> None:
    answers = replace(_answers(), scores=torch.tensor([1.0, 5.0]))
    assert scale_of(answers) == (3.0, pytest.approx(8**0.5))
    assert scale_of(replace(answers, scores=torch.tensor([4.0]))) == (4.0, 1.0)


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_the_value_loss_does_not_move_the_policy(mode: str, tiny_llama: Path) -> None:
    config = _config(mode=mode, ppo_epochs=1, vf_coef=5.0)
    networks = _networks(tiny_llama, config)
    before = {name: p.detach().clone() for name, p in networks.policy_parameters()}
    rollout, targets = _rollout(networks, config)
    targets = type(targets)(torch.zeros_like(targets.advantages), targets.returns, targets.rewards)
    optimizer = torch.optim.SGD([p for _, p in networks.policy_parameters()], lr=1.0)
    optimizer.add_param_group({"params": [p for _, p in networks.value_parameters()]})
    optimize(networks, optimizer, rollout, targets, config, seed=0)
    assert all(torch.equal(p, before[name]) for name, p in networks.policy_parameters())
    assert any(
        p.abs().sum() > 0 for name, p in networks.value_parameters() if name.endswith(("3.weight", "head.weight"))
    )


def test_hydra_leaves_the_trunk_and_the_output_matrix_alone(tiny_llama: Path) -> None:
    config = _config(ppo_epochs=2, learning_rate=1e-2)
    networks = _networks(tiny_llama, config)
    rollout, targets = _rollout(networks, config)
    optimize(networks, make_optimizer(networks, config), rollout, targets, config, seed=0)
    plain, _ = load_policy(tiny_llama)
    trained = dict(networks.sampler().named_parameters())
    changed = {name for name, p in plain.named_parameters() if not torch.equal(p, trained[name])}
    assert any(name.startswith("model.layers.1.") for name in changed)
    assert any(name.startswith("model.layers.2.") for name in changed)
    assert "model.norm.weight" in changed
    assert not any(name.startswith(("model.layers.0.", "model.embed", "lm_head")) for name in changed)


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_a_step_makes_what_scored_well_more_likely(mode: str, tiny_llama: Path) -> None:
    config = _config(mode=mode, ppo_epochs=4, learning_rate=1e-3)
    networks = _networks(tiny_llama, config)
    rollout, targets = _rollout(networks, config)
    optimize(networks, make_optimizer(networks, config), rollout, targets, config, seed=0)
    after = evaluate_answers(networks, _answers(), config)
    gain = ((after.logprobs - rollout.logprobs) * rollout.mask).sum(1)
    wanted = (targets.advantages * rollout.mask).sum(1)
    assert np.corrcoef(gain.numpy(), wanted.numpy())[0, 1] > 0.5


@pytest.mark.parametrize("answers_per_prompt", [1, 3])
def test_states_kept_while_sampling_are_those_of_a_forward_pass(answers_per_prompt: int, tiny_llama: Path) -> None:
    config = _config(answers_per_prompt=answers_per_prompt, max_new_tokens=9, batch_size=6, mini_batch_size=6)
    networks = _networks(tiny_llama, config)
    prompts = [Prompt("", ids) for ids in PROMPTS]
    answers = sample_answers(
        networks,
        load_policy(tiny_llama)[1],
        prompts,
        lambda _, r: np.zeros(len(r)),
        n=answers_per_prompt,
        eos=[1, 2, 3],
        config=config,
        seed=1,
    )
    kept = evaluate_answers(networks, answers, config)
    computed = evaluate_answers(networks, replace(answers, states=None), config)
    sequences = kept.sequences
    rows, columns = sequences.states()
    torch.testing.assert_close(kept.features[rows, columns], computed.features[rows, columns], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept.logprobs, computed.logprobs, rtol=1e-4, atol=1e-4)
    assert len(set(sequences.lengths.flatten().tolist())) > 1


@pytest.mark.parametrize("answers_per_prompt", [1, 3])
@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_kept_activations_equal_a_fresh_forward_bit_for_bit_after_the_steps(
    kind: str, answers_per_prompt: int, request: pytest.FixtureRequest
) -> None:
    sizes = {"batch_size": 4 * answers_per_prompt, "mini_batch_size": 2 * answers_per_prompt}
    config = _config(learning_rate=1e-2, answers_per_prompt=answers_per_prompt, **sizes)
    folder = request.getfixturevalue(kind)
    networks = _networks(folder, config)
    sampled = [answers[:answers_per_prompt] for answers in ANSWERS]
    scores = torch.linspace(-1, 2, 4 * answers_per_prompt)
    answers = Answers([Prompt("", ids) for ids in PROMPTS], sampled, [""] * len(scores), scores > 9, scores)
    kept = evaluate_answers(networks, answers, config)
    targets = compute_targets(kept, scores, kl_coef=0.1, config=config)
    optimize(networks, make_optimizer(networks, config), kept, targets, config, seed=0)
    fresh = evaluate_answers(networks, answers, config)
    assert torch.equal(kept.features, fresh.features)
    assert torch.equal(kept.ref_logprobs, fresh.ref_logprobs)
    assert not torch.equal(kept.logprobs, fresh.logprobs)  # while the layers above have moved
    model, _ = load_policy(folder)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, sampled, strict=True)):
        with torch.no_grad():
            # the model's own forward adds the same numbers in another order
            whole = model(input_ids=torch.tensor([prompt + answer[0]]), output_hidden_states=True).hidden_states[1][0]
        torch.testing.assert_close(kept.features[row, : len(whole)], whole, rtol=1e-5, atol=1e-5)
