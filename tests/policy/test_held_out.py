"""The policy that does best on held-out prompts is the one that is kept, within its KL budget, also across a resume."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.errors import ConfigError, RunCanceled
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.reward_model import RewardCard
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy import held_out, ppo
from preceptor.policy.build import cautious_score
from preceptor.policy.checkpoint import RunState, load_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import (
    Measured,
    drop_older,
    held_out_reward,
    judge,
    keep_answers,
    measure,
    restore_best,
)
from preceptor.policy.layouts import make_networks
from preceptor.policy.losses import cautious_scores
from preceptor.policy.metrics import read_metrics
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.prompts import load_held_out
from preceptor.policy.rollout import Prompt
from preceptor.policy.run import summary, train_with_ppo

Config = Callable[..., PolicyConfig]
Score = Callable[[Sequence[str], Sequence[str]], Any]


def test_caution_takes_the_spread_of_the_ensemble_from_its_mean() -> None:
    ensemble = torch.tensor([[1.0, 4.0], [3.0, 4.0]])  # spreads 1 and 0
    assert cautious_scores(ensemble, 0.5).tolist() == [1.5, 4.0]
    assert cautious_scores(ensemble[:1], 0.5).tolist() == [1.0, 4.0]


class _Members:
    """A reward model whose members differ by 2 on every answer."""

    def __init__(self, members: int) -> None:
        self.card = RewardCard(mode="frozen", base="none", ensemble=members)

    def score(self, _: Sequence[str], responses: Sequence[str]) -> Any:
        return np.full(len(responses), 7.0)

    def score_ensemble(self, _: Sequence[str], responses: Sequence[str]) -> Any:
        return np.stack([np.full(len(responses), 2.0 * member) for member in range(self.card.ensemble)])


def test_caution_reads_the_ensemble_and_its_absence_the_one_score() -> None:
    assert cautious_score(_Members(2), 0.5)(["p"], ["r"]).tolist() == [0.5]
    assert cautious_score(_Members(1), 0.0)(["p"], ["r"]).tolist() == [7.0]


@pytest.mark.parametrize("algorithm", ["ppo", "rloo"])
def test_caution_is_refused_where_no_second_member_could_disagree(
    algorithm: str, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    if algorithm != "ppo":
        pytest.importorskip("trl")
    more: dict[str, Any] = {"algorithm": algorithm, "answers_per_prompt": 2, "caution": 0.5}
    with pytest.raises(ConfigError, match=r"caution 0\.5 .* \(full mode\) has a single member: leave caution at 0"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "o"), **more)


def test_the_held_out_reward_is_the_scaled_score_less_both_penalties(small_config: Config) -> None:
    config = small_config(missing_eos_penalty=0.5, init_kl_coef=0.1)
    measured = Measured(score=3.0, unfinished=0.2, kl=4.0)
    assert held_out_reward(measured, mean=1.0, std=2.0, config=config) == pytest.approx(1.0 - 0.1 - 0.4)


def _networks(folder: Path, config: PolicyConfig) -> Networks:
    return make_networks(load_policy(folder)[0], config)


def _shift(networks: Networks) -> None:
    with torch.no_grad():
        for _, parameter in networks.policy_parameters():
            parameter.add_(1.0)


def test_a_better_policy_within_the_budget_replaces_the_best_and_comes_back_bit_for_bit(
    small_config: Config, tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config(kl_budget=5.0, init_kl_coef=0.0)
    networks = _networks(tiny_llama, config)

    def weights() -> dict[str, torch.Tensor]:
        return {name: p.detach().clone() for name, p in networks.policy_parameters()}

    state = judge(networks, Measured(1.0, 0.0, 9.0), RunState(), config, folder=tmp_path)
    assert state.best_update == 0  # the first one is the best so far, whatever it is
    _shift(networks)
    expected = weights()
    state = judge(networks, Measured(2.0, 0.0, 4.0), replace(state, update=5), config, folder=tmp_path)
    assert (state.best_update, state.best_score, state.best_kl) == (5, 2.0, 4.0)
    for measured in (Measured(2.0, 0.0, 0.0), Measured(1.5, 0.0, 0.0), Measured(9.0, 0.0, 5.1)):
        _shift(networks)
        same = judge(networks, measured, replace(state, update=10), config, folder=tmp_path)
        assert replace(same, update=5) == state
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-000000", "best-000005"]
    drop_older(tmp_path, state)
    restore_best(networks, state, folder=tmp_path)
    assert all(torch.equal(value, expected[name]) for name, value in weights().items())
    assert [path.name for path in tmp_path.iterdir()] == ["best-000005"]


def test_two_looks_at_one_policy_agree(small_config: Config, letter_score: Score, tiny_llama: Path) -> None:
    config = small_config(answers_per_prompt=2)
    model, tokenizer = load_policy(tiny_llama)
    networks = make_networks(model, config)
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in ("a fever", "a cough")]
    first, second = (
        measure(networks, tokenizer, prompts, letter_score, config, eos=eos_ids(model, tokenizer), update=update)
        for update in (0, 5)
    )
    assert first == second
    assert first.kl == 0
    assert 0 <= first.unfinished <= 1
    assert measure(networks, tokenizer, prompts, letter_score, config, eos=[]).unfinished == 1
    assert measure(networks, tokenizer, prompts, letter_score, config, eos=list(range(256))).unfinished == 0
    short = small_config(max_new_tokens=1)  # an answer may end with its last token
    assert measure(networks, tokenizer, prompts, letter_score, short, eos=list(range(256))).unfinished == 0


def test_the_kl_of_held_out_answers_is_a_sum_over_their_tokens(
    small_config: Config, letter_score: Score, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_policy(tiny_llama)
    networks, seen = make_networks(model, small_config()), []
    with torch.no_grad():
        for _, parameter in networks.policy_parameters():
            parameter.mul_(1.2)
    real = held_out.evaluate_answers
    monkeypatch.setattr(held_out, "evaluate_answers", lambda *a, **k: (seen.append(real(*a, **k)), seen[-1])[1])
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in ("a fever", "a cough")]
    found = measure(networks, tokenizer, prompts, letter_score, small_config(), eos=eos_ids(model, tokenizer))
    moved = [
        sum(float(p - q) for p, q, real in zip(*rows, strict=True) if real)
        for rows in zip(seen[0].logprobs, seen[0].ref_logprobs, seen[0].mask, strict=True)
    ]
    assert found.kl == pytest.approx(np.mean(moved), rel=1e-4)
    assert found.kl != 0


def _train(
    folder: Path, config: PolicyConfig, score: Score, work: Path, *, stop_after: int | None = None
) -> tuple[Networks, RunState]:
    model, tokenizer = load_policy(folder)
    networks = make_networks(model, config)
    optimizer = make_optimizer(networks, config)
    settings = config.model_dump(mode="json")
    state = load_checkpoint(work, networks, optimizer, settings=settings) or RunState(kl_coef=config.init_kl_coef)
    done = [state.update]
    encoded = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in map("Question {}".format, range(12))]
    state = train(
        networks,
        optimizer,
        state,
        tokenizer,
        encoded[:8],
        score,
        config,
        eos=eos_ids(model, tokenizer),
        folder=work,
        settings=settings,
        progress=lambda update, *_: done.append(update),
        is_canceled=lambda: stop_after is not None and done[-1] >= stop_after,
        held_out=encoded[8:],
    )
    restore_best(networks, state, folder=work)
    return networks, state


@pytest.mark.parametrize("stop_after", [2, 3])
def test_a_stopped_run_keeps_the_same_best_policy_as_a_whole_one(
    stop_after: int, small_config: Config, letter_score: Score, tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config(epochs=10, max_updates=5, evaluate_every=2)
    whole, state = _train(tiny_llama, config, letter_score, tmp_path / "whole")
    with pytest.raises(RunCanceled):
        _train(tiny_llama, config, letter_score, tmp_path / "parts", stop_after=stop_after)
    resumed, again = _train(tiny_llama, config, letter_score, tmp_path / "parts")
    assert replace(state, seconds=0.0) == replace(again, seconds=0.0)
    expected, found = dict(whole.policy_parameters()), dict(resumed.policy_parameters())
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = read_metrics(tmp_path / "parts" / "metrics.jsonl")
    assert [row["update"] for row in rows if "held_out/score" in row] == [2, 4, 5]
    kept = (tmp_path / "parts" / "held_out.jsonl").read_bytes()
    assert kept == (tmp_path / "whole" / "held_out.jsonl").read_bytes()
    seen = [json.loads(line) for line in kept.splitlines()]
    assert sorted({row["update"] for row in seen}) == [0, 2, 4, 5]
    last = [row["score"] for row in seen if row["update"] == 5]
    assert np.mean(last) == pytest.approx(rows[-1]["held_out/score"], rel=1e-5)


def test_a_policy_that_gets_worse_on_held_out_prompts_is_not_the_one_that_is_kept(
    small_config: Config, letter_score: Score, tiny_llama: Path, tmp_path: Path
) -> None:
    start = dict(_networks(tiny_llama, small_config()).policy_parameters())

    def two_faced(prompts: Sequence[str], responses: Sequence[str]) -> Any:
        sign = np.array([1.0 if int(prompt.split()[1]) < 8 else -1.0 for prompt in prompts])
        return sign * letter_score(prompts, responses)

    config = small_config(
        epochs=10, max_updates=4, evaluate_every=2, batch_size=64, mini_batch_size=32, learning_rate=1e-2, target_kl=1.0
    )
    networks, state = _train(tiny_llama, config, two_faced, tmp_path)
    assert state.best_update == 0
    assert all(torch.equal(start[name], p) for name, p in networks.policy_parameters())


def test_training_ends_beyond_the_kl_budget_with_the_best_policy_within_it(
    small_config: Config, letter_score: Score, tiny_llama: Path, tmp_path: Path
) -> None:
    config = small_config(epochs=99, learning_rate=1e-2, target_kl=9.0, kl_budget=0.05, evaluate_every=1)
    _, state = _train(tiny_llama, config, letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert state.over_budget
    assert state.update == len(rows) < 99
    assert rows[-1]["objective/kl"] > 0.05 >= max(row["objective/kl"] for row in rows[:-1])
    assert state.best_kl <= 0.05
    tighter = config.model_copy(update={"kl_budget": 0.75 * rows[-1]["objective/kl"], "max_updates": state.update + 1})
    assert _train(tiny_llama, tighter, letter_score, tmp_path / "again")[1].update <= state.update


def test_the_best_weights_of_before_go_only_once_a_checkpoint_names_the_new_ones(
    small_config: Config, letter_score: Score, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    save, drop = ppo.save_checkpoint, ppo.drop_older
    monkeypatch.setattr(ppo, "save_checkpoint", lambda *a, **k: (order.append("save"), save(*a, **k)))
    monkeypatch.setattr(ppo, "drop_older", lambda *a, **k: (order.append("drop"), drop(*a, **k)))
    _train(tiny_llama, small_config(epochs=9, max_updates=3, checkpoint_every=2), letter_score, tmp_path)
    assert order == ["save", "drop"]  # after the second of three


def test_a_look_that_is_taken_again_replaces_what_it_and_later_ones_left(tmp_path: Path) -> None:
    for update, text in ((0, "a"), (2, "b"), (4, "c"), (2, "d")):
        keep_answers(tmp_path, update, [{"response": text}, {"response": text.upper()}])
    kept = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert [(row["update"], row["response"]) for row in kept] == [(0, "a"), (0, "A"), (2, "d"), (2, "D")]


@pytest.mark.parametrize("algorithm", ["ppo", "dpo"])
@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, r"prompts\.jsonl holds no prompt of split `validation`: add some"), ({"held_out_prompts": 0}, "is 0: allow")],
)
def test_a_kl_budget_that_nothing_would_measure_is_refused_before_training(
    algorithm: str, fields: dict[str, Any], said: str, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    if algorithm != "ppo":
        pytest.importorskip("trl")
    more: dict[str, Any] = {"algorithm": algorithm, "kl_budget": 0.05, "warm_start_epochs": 1, **fields}
    with pytest.raises(ConfigError, match=f"kl_budget is kept on held-out prompts, and .*{said}"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "o"), **more)
    assert not list(tmp_path.iterdir())


def test_held_out_prompts_are_those_of_the_validation_split(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"prompt": f"{split} {i}", "split": split} for split in ("train", "validation", "test") for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[5], {"prompt": "no split"}]))
    assert load_held_out(path, most=9, seed=0) == [f"validation {i}" for i in range(4)]
    assert len(load_held_out(path, most=2, seed=0)) == 2
    assert load_held_out(path, most=0, seed=0) == []


def test_a_prompt_that_is_trained_on_is_no_held_out_one(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {"prompt": "a rash", "split": "validation"},
        {"prompt": "a fever", "split": "validation"},
        {"prompt": "a cough", "split": "validation"},
        {"prompt": "a fever", "split": "train"},
        {"prompt": "a cough"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_held_out(path, most=9, seed=0) == ["a rash"]


def test_the_published_policy_is_named_in_metrics_and_card(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> None:
    reward = tmp_path / "reward"
    shutil.copytree(tiny_reward, reward)
    with (reward / "prompts.jsonl").open("a") as file:
        file.write('{"prompt": "Is this a rash?", "split": "validation"}\n')
    fields: dict[str, Any] = {"precision": "float32", "train_layers": 1, "batch_size": 8, "max_new_tokens": 4}
    metrics = train_with_ppo(str(tiny_llama), str(reward), str(tmp_path / "o"), epochs=2, **fields)
    card = json.loads((tmp_path / "o" / "preceptor.json").read_text())
    assert metrics["published_update"] == card["published_update"] in (0, 2)
    assert f"Published is the policy after {metrics['published_update']} of them" in summary(metrics)
    assert np.isfinite(metrics["held_out_score"])
    kept = [json.loads(line) for line in (tmp_path / "o" / "held_out.jsonl").read_text().splitlines()]
    assert {(row["update"], row["prompt"]) for row in kept} == {(0, "Is this a rash?"), (2, "Is this a rash?")}
