from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from preceptor.evaluate.answers import Answer, LazyPolicy, Sampling, answers_of
from preceptor.evaluate.divergence import log_ratios, summarize, token_log_probs
from preceptor.modeling.policy_model import context_length, load_policy
from preceptor.modeling.sequences import encode_prompt

PROMPTS = ["What about asthma?", "A longer question about warfarin and its many interactions?"]


def load(folder: Path) -> LazyPolicy:
    return LazyPolicy(folder, folder.name, "float32", folder.parent)


def test_a_policy_is_at_distance_zero_from_itself(policies: dict[str, Path], tmp_path: Path) -> None:
    policy = load(policies["one"])
    answers = answers_of(policy, PROMPTS, Sampling(1, 8, 1.0, 0, "float32"), cache=tmp_path)
    ratios = log_ratios(policy.load(), policy.load(), PROMPTS, [row[0] for row in answers])
    found = summarize(ratios)
    assert found["sequence_k1"] == found["token_k3"] == 0
    assert [ratio.size for ratio in ratios] == [len(row[0].token_ids) for row in answers]


def test_another_policy_is_at_a_positive_distance(policies: dict[str, Path], tmp_path: Path) -> None:
    one, two = load(policies["one"]), load(policies["two"])
    answers = answers_of(one, PROMPTS, Sampling(1, 8, 1.0, 0, "float32"), cache=tmp_path)
    found = summarize(log_ratios(one.load(), two.load(), PROMPTS, [row[0] for row in answers]))
    assert found["sequence_k1"] > 0
    assert found["token_k3"] > 0


def test_a_prompt_beyond_the_context_is_read_as_it_was_answered(policies: dict[str, Path], tmp_path: Path) -> None:
    one, two = load(policies["one"]), load(policies["two"])
    prompt = "A long history of warfarin. " * 200 + "What now?"
    (row,) = answers_of(one, [prompt], Sampling(1, 8, 1.0, 0, "float32"), cache=tmp_path)
    model, tokenizer = one.load()
    whole, ids = encode_prompt(tokenizer, prompt)[0], row[0].token_ids
    assert len(whole) > context_length(model)
    answered = [(whole[-(context_length(model) - 8) :], ids)]  # what `generate` kept of it
    expected = token_log_probs(model, answered)[0] - token_log_probs(two.load()[0], answered)[0]
    found = log_ratios(one.load(), two.load(), [prompt], [row[0]], max_new_tokens=8)
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_gpt2"])
def test_padding_changes_no_log_probability(kind: str, request: pytest.FixtureRequest) -> None:
    model, tokenizer = load_policy(request.getfixturevalue(kind))
    rows = [(tokenizer(prompt)["input_ids"], [11, 22, 33, 44][: 2 + 2 * i]) for i, prompt in enumerate(PROMPTS)]
    together = token_log_probs(model, rows)
    for row, expected in zip(rows, together, strict=True):
        np.testing.assert_allclose(token_log_probs(model, [row])[0], expected, atol=1e-5)


def test_both_policies_are_read_at_the_temperature_of_the_sampling(tiny_gpt2: Path) -> None:
    (model, tokenizer), (other, _) = load_policy(tiny_gpt2), load_policy(tiny_gpt2)
    with torch.no_grad():
        other.transformer.wte.weight.mul_(1.5)
    (prompt, *_), drawn = PROMPTS, [11, 22, 33]
    ids = torch.tensor([encode_prompt(tokenizer, prompt)[0] + drawn])
    ours, theirs = (
        torch.log_softmax(each(ids).logits[0, -4:-1].detach() / 0.5, -1)[torch.arange(3), torch.tensor(drawn)]
        for each in (model, other)
    )
    found = log_ratios((model, tokenizer), (other, tokenizer), [prompt], [Answer("", drawn, True)], temperature=0.5)
    np.testing.assert_allclose(found[0], (ours - theirs).numpy(), atol=1e-5)


def test_the_bounds_resample_prompts_and_one_wild_token_leaves_numbers() -> None:
    ratios = [np.array([value]) for value in (0.0, 0.0, 0.0, 4.0, 4.0, 4.0)]
    found = summarize(ratios, prompts=["a"] * 3 + ["b"] * 3)
    assert (found["sequence_k1"], found["low"], found["high"]) == (2.0, 0.0, 4.0)
    assert summarize(ratios)["low"] > 0.0
    assert np.isfinite(summarize([np.array([-900.0, 900.0])])["token_k3"])


def test_estimators_agree_with_the_exact_divergence_of_a_small_distribution() -> None:
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    exact = float((p * np.log(p / q)).sum())
    drawn = rng.choice(3, p=p, size=(4000, 5))
    found = summarize(list(np.log(p / q)[drawn]))
    assert found["token_k1"] == pytest.approx(exact, abs=0.02)
    assert found["token_k3"] == pytest.approx(exact, abs=0.02)
    assert found["sequence_k1"] == pytest.approx(5 * exact, abs=0.1)


def test_kept_answers_are_used_again_without_loading_the_model(policies: dict[str, Path], tmp_path: Path) -> None:
    sampling = Sampling(2, 4, 1.0, 0, "float32")
    first = answers_of(load(policies["one"]), PROMPTS, sampling, cache=tmp_path)
    again = load(policies["one"])
    assert answers_of(again, PROMPTS, sampling, cache=tmp_path) == first
    assert again.loaded is None
    (kept,) = tmp_path.glob("*.json")
    kept.write_text('[[{"text": "half')
    assert answers_of(again, PROMPTS, sampling, cache=tmp_path) == first
    assert isinstance(first[0][0], Answer)
