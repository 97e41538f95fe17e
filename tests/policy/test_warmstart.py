"""The supervised warm start: it fits the chosen answers, reports its gain, and becomes the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from preceptor.errors import DataError
from preceptor.modeling.policy_model import load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy import warmstart
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.rollout import Prompt
from preceptor.policy.run import train_with_ppo
from preceptor.policy.warmstart import encode_answer, warm_start


def test_an_answer_cut_off_in_mid_sentence_does_not_teach_to_stop_there(tiny_llama: Path) -> None:
    _, tokenizer = load_policy(tiny_llama)
    assert encode_answer(tokenizer, "Call the doctor.", eos=1)[-1] == 1
    assert encode_answer(tokenizer, "Call the doctor. \n", eos=1)[-1] == 1
    assert encode_answer(tokenizer, "Call the doc", eos=1)[-1] != 1
    assert len(encode_answer(tokenizer, "Call. " * 300, eos=1)) == 128


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_the_loss_falls_and_the_result_is_the_new_reference(
    mode: str, small_config: Callable[..., PolicyConfig], letter_score: Callable[..., Any], tiny_llama: Path
) -> None:
    config = small_config(mode=mode, warm_start_epochs=4, warm_start_learning_rate=3e-3, mini_batch_size=16)
    model, tokenizer = load_policy(tiny_llama)
    networks = make_networks(model, config)
    examples = [
        (Prompt(text, encode_prompt(tokenizer, text)[0]), encode_answer(tokenizer, "Seek care, see the nurse.", eos=1))
        for text in (f"Question {i}?" for i in range(30))
    ]
    seen: list[tuple[int, int]] = []
    metrics = warm_start(
        networks,
        tokenizer,
        examples,
        letter_score,
        config,
        eos=[1],
        progress=lambda done, total, _: seen.append((done, total)),
        is_canceled=lambda: False,
    )
    assert metrics["warm_start/loss_after"] < 0.8 * metrics["warm_start/loss_before"]
    assert metrics["warm_start/score_after"] > metrics["warm_start/score_before"]
    assert metrics["warm_start/examples"] == 27
    assert seen[-1] == (8, 8)
    reference = networks.reference_state()
    assert reference
    for name, parameter in networks.policy_parameters():
        assert torch.equal(reference[name.removeprefix("policy.")], parameter)


def test_both_losses_are_of_the_same_held_out_answers_and_every_pass_has_an_order_of_its_own(
    small_config: Callable[..., PolicyConfig],
    letter_score: Callable[..., Any],
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(warm_start_epochs=2, warm_start_learning_rate=1e-12, batch_size=30, mini_batch_size=30)
    model, tokenizer = load_policy(tiny_llama)
    networks, orders, real = make_networks(model, config), [], warmstart._logprobs

    def noted(nets: Any, inputs: Any, rows: torch.Tensor, config: PolicyConfig) -> torch.Tensor:
        if torch.is_grad_enabled():
            orders.append(rows.tolist())
        return real(nets, inputs, rows, config)

    monkeypatch.setattr(warmstart, "_logprobs", noted)
    examples = [(Prompt(str(i), [3 + i]), [20 + 3 * i, 21 + i, 1]) for i in range(20)]
    metrics = warm_start(
        networks,
        tokenizer,
        examples,
        letter_score,
        config,
        eos=[1],
        progress=lambda *_: None,
        is_canceled=lambda: False,
    )
    assert metrics["warm_start/loss_after"] == pytest.approx(metrics["warm_start/loss_before"], rel=1e-5)
    assert [sorted(order) for order in orders] == [list(range(18))] * 2  # two of twenty are held out
    assert orders[0] != orders[1]


def test_a_long_answer_behind_a_long_prompt_keeps_within_the_context(
    tiny_gpt2: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "word " * 300 + str(i), "chosen": "Call the nurse. " * 60} for i in range(12)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"batch_size": 4, "max_updates": 0, "max_prompt_tokens": 1_000, "max_new_tokens": 40}  # of 256 positions
    models = (str(tiny_gpt2), str(tiny_reward), str(tmp_path / "out"))
    metrics = train_with_ppo(*models, warm_start_epochs=1, warm_start_file=pairs, train_layers=1, **sizes)
    assert metrics["warm_start/loss_after"] < metrics["warm_start/loss_before"]


def test_too_few_chosen_answers_are_refused(
    small_config: Callable[..., PolicyConfig], letter_score: Callable[..., Any], tiny_llama: Path
) -> None:
    model, tokenizer = load_policy(tiny_llama)
    networks = make_networks(model, small_config())
    with pytest.raises(DataError, match="got 2"):
        warm_start(
            networks,
            tokenizer,
            [(Prompt("a", [3]), [4, 1])] * 2,
            letter_score,
            small_config(warm_start_epochs=1),
            eos=[1],
            progress=lambda *_: None,
            is_canceled=lambda: False,
        )
