"""Sampling: exact against transformers, reproducible, and true to the distribution."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.errors import InputError
from preceptor.modeling.decoders import LlamaDecoder, ModelDecoder, make_decoder
from preceptor.modeling.generate import generate, generate_ids, pad_left, sample
from preceptor.modeling.policy_model import eos_ids, load_policy

PROMPTS = [[40, 41, 42, 43, 44, 45], [50], [60, 61, 62]]


@pytest.fixture(scope="module", params=["tiny_llama", "tiny_gpt2"])
def policy(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return load_policy(request.getfixturevalue(request.param))


def test_the_fast_decoder_is_used_for_llama_only(tiny_llama: Path, tiny_gpt2: Path) -> None:
    assert isinstance(make_decoder(load_policy(tiny_llama)[0]), LlamaDecoder)
    assert isinstance(make_decoder(load_policy(tiny_gpt2)[0]), ModelDecoder)


def test_greedy_answers_equal_those_of_transformers(policy: tuple[Any, Any]) -> None:
    model, _ = policy
    ours = generate_ids(model, PROMPTS, eos=[1], max_new_tokens=20, temperature=0)
    ids, mask = pad_left(PROMPTS)
    theirs = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0, eos_token_id=1
    )[:, ids.shape[1] :].tolist()
    assert len({tuple(answers[0]) for answers in ours}) > 1
    for answers, row in zip(ours, theirs, strict=True):
        assert answers[0] == row[: len(answers[0])]


@pytest.mark.parametrize("decoder", [LlamaDecoder, ModelDecoder])
def test_logits_step_by_step_equal_one_forward_pass(decoder: Any, tiny_llama: Path) -> None:
    model, _ = load_policy(tiny_llama)
    answers = torch.tensor([[70, 71, 72], [73, 74, 75], [76, 77, 78]])
    ids, mask = pad_left(PROMPTS)
    running = decoder(model)
    with torch.no_grad():
        steps = [running.prefill(ids, mask, 4)]
        steps += [running.step(answers[:, i]) for i in range(3)]
        for row, prompt in enumerate(PROMPTS):
            plain = model(input_ids=torch.tensor([prompt + answers[row].tolist()])).logits[0]
            for i, logits in enumerate(steps):
                torch.testing.assert_close(logits[row], plain[len(prompt) - 1 + i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", [LlamaDecoder, ModelDecoder])
def test_dropping_and_repeating_rows_changes_no_logits(decoder: Any, tiny_llama: Path) -> None:
    model, _ = load_policy(tiny_llama)
    ids, mask = pad_left(PROMPTS)
    whole, part = decoder(model), decoder(model)
    rows = torch.tensor([2, 0, 0])
    with torch.no_grad():
        whole.prefill(ids, mask, 4)
        part.prefill(ids, mask, 4)
        part.select(rows)
        tokens = torch.tensor([70, 71, 72])
        torch.testing.assert_close(part.step(tokens[rows]), whole.step(tokens)[rows], rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_answers_whatever_the_batch(policy: tuple[Any, Any]) -> None:
    model, _ = policy
    one, other, shifted = (
        generate_ids(model, PROMPTS, eos=[1], n=2, max_new_tokens=16, seed=seed, batch_size=size)
        for seed, size in ((5, 64), (5, 2), (6, 64))
    )
    assert one == other
    assert one != shifted
    assert one[0][0] != one[0][1]


def test_an_answer_ends_at_the_end_token_and_not_before(policy: tuple[Any, Any]) -> None:
    model, _ = policy
    answers = generate_ids(model, PROMPTS * 20, eos=[1, 2, 3, 4, 5], max_new_tokens=30, seed=1)
    lengths = [len(answer) for (answer,) in answers]
    assert len(set(lengths)) > 3
    for (answer,) in answers:
        assert not set(answer[:-1]) & {1, 2, 3, 4, 5}
        assert len(answer) == 30 or answer[-1] in {1, 2, 3, 4, 5}


def test_text_and_finish_come_with_the_tokens(policy: tuple[Any, Any]) -> None:
    model, tokenizer = policy
    seen: list[tuple[int, int]] = []
    answers = generate(
        model,
        tokenizer,
        ["Fever?", "Chest pain?"],
        n=3,
        max_new_tokens=8,
        batch_size=3,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [len(row) for row in answers] == [3, 3]
    assert seen == [(3, 6), (6, 6)]
    for completion in (c for row in answers for c in row):
        assert completion.finished == (completion.token_ids[-1] in eos_ids(model, tokenizer))
        assert completion.text == tokenizer.decode(completion.token_ids, skip_special_tokens=True).strip()


def test_a_prompt_longer_than_the_context_keeps_its_end_and_is_reported(
    policy: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    model, tokenizer = policy
    with caplog.at_level(logging.WARNING, logger="preceptor"):
        long, short = generate(model, tokenizer, ["fever " * 300 + "now?", "now?"], max_new_tokens=4)
    assert len(long[0].token_ids) >= 1
    assert short[0].token_ids
    assert "1 of 2 prompts" in caplog.text
    assert "fever" not in caplog.text


@pytest.mark.parametrize(
    "fields", [{"n": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_values_out_of_range_are_refused(policy: tuple[Any, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        generate_ids(policy[0], PROMPTS, eos=[1], **fields)


def test_an_answer_as_long_as_the_context_is_refused(policy: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="max_new_tokens 256"):
        generate(*policy, ["Fever?"], max_new_tokens=256)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_follow_the_softmax(temperature: float) -> None:
    logits = torch.randn(1, 600, generator=torch.Generator().manual_seed(0)) * 3
    draws = 40_000
    uniforms = torch.from_numpy(np.random.default_rng(0).random(draws))
    words = sample(logits.expand(draws, -1), uniforms, temperature=temperature)
    found = torch.bincount(words, minlength=600).double() / draws
    wanted = torch.softmax(logits[0].double() / temperature, -1)
    assert float((found - wanted).abs().sum()) / 2 < 0.03  # total variation


def test_the_nucleus_holds_the_likeliest_words_only() -> None:
    probs = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]])
    uniforms = torch.linspace(0, 0.9999, 1000, dtype=torch.float64)
    words = sample(probs.log().expand(1000, -1), uniforms, top_p=0.6)
    counts = torch.bincount(words, minlength=5)
    assert counts[2:].sum() == 0
    assert int(counts[0]) == pytest.approx(1000 * 0.5 / 0.7, abs=2)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 1e-16])
def test_no_draw_falls_outside_the_vocabulary_or_on_a_word_without_mass(uniform: float) -> None:
    logits = torch.full((1, 700), float("-inf"))
    logits[0, [3, 300, 511]] = 0.0
    word = int(sample(logits, torch.tensor([uniform], dtype=torch.float64))[0])
    assert word == {0.0: 3, 0.5: 300}.get(uniform, 511)


def test_temperature_zero_takes_the_likeliest_word() -> None:
    logits = torch.randn(5, 100)
    assert sample(logits, torch.rand(5), temperature=0).tolist() == logits.argmax(-1).tolist()
