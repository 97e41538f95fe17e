"""Weights go to the sampler by version, its rounding is corrected, and without vLLM the error says what to install."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from preceptor.errors import ConfigError
from preceptor.modeling.generate import generate_ids
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.metrics import read_metrics
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.rollout import Prompt, evaluate_answers, sample_answers
from preceptor.policy.run import train_with_ppo
from preceptor.policy.vllm_sampler import Drawn, VersionedSampler, VllmEngine, answer_seed

WITH_GPU = importlib.util.find_spec("vllm") is not None and torch.cuda.is_available()


class PlainEngine:
    """Reads a version's folder and samples from it with the built-in sampler, `shift` nats off in what it reports."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
        self.loaded: list[str] = []

    def load(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.loaded.append(folder.name)

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        *,
        eos: Sequence[int],
        max_new_tokens: int,
        temperature: float,
    ) -> list[Drawn]:
        drawn = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            settings: dict[str, Any] = {"eos": eos, "max_new_tokens": max_new_tokens, "temperature": temperature}
            ids = generate_ids(self.model, [prompt], seed=seed, **settings)[0][0]
            with torch.no_grad():
                logits = self.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / temperature
            logprobs = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)] - self.shift
            drawn.append(Drawn(ids, logprobs.tolist()))
        return drawn


def _trained(
    folder: Path, config: PolicyConfig, score: Any, out: Path, engine: PlainEngine
) -> tuple[list[dict[str, Any]], VersionedSampler]:
    model, tokenizer = load_policy(folder)
    networks = make_networks(model, config)
    networks.outside = VersionedSampler(engine, out / "sampler")
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in (f"Question {i}" for i in range(8))]
    train(
        networks,
        make_optimizer(networks, config),
        RunState(kl_coef=0.01),
        tokenizer,
        prompts,
        score,
        config,
        eos=eos_ids(model, tokenizer),
        folder=out,
        settings={},
        progress=lambda *_: None,
        is_canceled=lambda: False,
        held_out=prompts[:2],
    )
    return read_metrics(out / "metrics.jsonl"), networks.outside


@pytest.mark.parametrize(("mode", "kind"), [("hydra", "tiny_llama"), ("full", "tiny_gpt2")])
def test_the_sampler_always_has_the_present_weights_so_every_importance_weight_is_1(
    mode: str,
    kind: str,
    request: pytest.FixtureRequest,
    small_config: Callable[..., PolicyConfig],
    letter_score: Any,
    tmp_path: Path,
) -> None:
    config = small_config(mode=mode, temperature=0.8, answers_per_prompt=2, batch_size=8, max_updates=3, epochs=9)
    engine = PlainEngine()
    rows, sampler = _trained(request.getfixturevalue(kind), config, letter_score, tmp_path, engine)
    assert [row["val/importance_mean"] for row in rows] == pytest.approx([1.0] * 3, abs=1e-5)
    # a look, 3 roll-outs and a look at the end
    assert engine.loaded == [f"policy-{version:06d}" for version in range(5)]
    assert [path.name for path in (tmp_path / "sampler").iterdir()] == ["policy-000004"]
    assert sampler.version == 4


def test_what_the_sampler_reports_otherwise_is_weighted_and_capped(
    tiny_llama: Path, small_config: Callable[..., PolicyConfig], letter_score: Any, tmp_path: Path
) -> None:
    config = small_config(batch_size=8, max_updates=1, importance_cap=1.5)
    rows, _ = _trained(tiny_llama, config, letter_score, tmp_path / "less", PlainEngine(shift=0.1))
    assert rows[0]["val/importance_mean"] == pytest.approx(1.10517, abs=1e-4)
    rows, _ = _trained(tiny_llama, config, letter_score, tmp_path / "more", PlainEngine(shift=1.0))
    assert rows[0]["val/importance_mean"] == pytest.approx(1.5)


def test_the_built_in_sampler_in_the_same_precision_needs_no_weights(
    tiny_llama: Path, small_config: Callable[..., PolicyConfig], letter_score: Any
) -> None:
    config = small_config(batch_size=4, mini_batch_size=4)
    model, tokenizer = load_policy(tiny_llama)
    networks = make_networks(model, config)
    prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in ("Gout", "What of a fever?", "x", "y")]
    answers = sample_answers(
        networks, tokenizer, prompts, letter_score, n=1, eos=eos_ids(model, tokenizer), config=config, seed=3
    )
    rollout = evaluate_answers(networks, answers, config)
    assert rollout.weights is None
    sampled = torch.zeros_like(rollout.logprobs)
    for row, (prompt, (ids,)) in enumerate(zip(prompts, answers.token_ids, strict=True)):
        with torch.no_grad():
            logits = networks.sampler()(torch.tensor([prompt.ids + ids])).logits[0, len(prompt.ids) - 1 : -1]
        sampled[row, : len(ids)] = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)]
    torch.testing.assert_close(rollout.logprobs.exp() * rollout.mask, sampled.exp() * rollout.mask)


def test_each_answer_has_a_seed_of_its_own_that_vllm_takes() -> None:
    seeds = {answer_seed(seed, number, answer) for seed in range(5) for number in range(10) for answer in range(4)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert answer_seed(1, 2, 3) == answer_seed(1, 2, 3)


class CountingEngine:
    """Answers with the seed that it was given."""

    def load(self, folder: Path) -> None:
        self.files = sorted(path.name for path in folder.iterdir())

    def sample(self, prompts: Sequence[list[int]], seeds: Sequence[int], **_: Any) -> list[Drawn]:
        return [Drawn([*prompt, seed], [0.0]) for prompt, seed in zip(prompts, seeds, strict=True)]


def test_a_process_draws_with_the_numbers_of_its_own_prompts(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"eos": [1], "n": 2, "max_new_tokens": 3, "temperature": 1.0, "seed": 7}
    sampler = VersionedSampler(CountingEngine(), tmp_path)
    found = sampler.draw([[5], [6]], **settings, streams=[1, 3])
    assert [[one.ids for one in rows] for rows in found] == [
        [[token, answer_seed(7, number, answer)] for answer in range(2)] for token, number in ((5, 1), (6, 3))
    ]


def test_what_an_interrupted_run_left_under_a_version_is_not_read(tiny_gpt2: Path, tmp_path: Path) -> None:
    (tmp_path / "policy-000000").mkdir()
    (tmp_path / "policy-000000" / "generation.json").write_text("stale")
    engine = CountingEngine()
    VersionedSampler(engine, tmp_path).sync(load_policy(tiny_gpt2)[0])
    assert "model.safetensors" in engine.files
    assert "generation.json" not in engine.files


def test_vllm_is_for_ppo_without_shards() -> None:
    with pytest.raises(ValidationError, match="dpo does not use sampler"):
        PolicyConfig(reward_model="none", algorithm="dpo", sampler="vllm")
    with pytest.raises(ValidationError, match="leave one of the two out"):
        PolicyConfig(reward_model="none", mode="full", sharding="fsdp", sampler="vllm")


@pytest.mark.skipif(WITH_GPU, reason="vLLM and a GPU are here")
def test_without_vllm_the_error_says_what_to_install(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preceptor\[vllm\]|sees none"):
        train_with_ppo(
            str(tiny_llama), str(tiny_reward), str(tmp_path / "out"), sampler="vllm", mode="full", max_updates=1
        )


@pytest.mark.skipif(not WITH_GPU, reason="vLLM or an NVIDIA GPU is not here")
def test_vllm_reads_a_new_version_and_reports_its_log_probabilities(tiny_llama: Path, tmp_path: Path) -> None:
    config = PolicyConfig(reward_model="none", sampler="vllm", sampler_memory=0.2, precision="float32")
    model, tokenizer = load_policy(tiny_llama, device="cuda")
    sampler = VersionedSampler(VllmEngine(config, max_length=64), tmp_path)
    prompt = encode_prompt(tokenizer, "Gout")[0]
    for _ in range(2):
        sampler.sync(model)
        wanted = {"eos": eos_ids(model, tokenizer), "n": 2, "max_new_tokens": 8, "temperature": 1.0, "seed": 1}
        for ids, logprobs in sampler.draw([prompt], **wanted)[0]:
            with torch.no_grad():
                row = torch.tensor([prompt + ids], device="cuda")
                logits = model(row).logits[0, len(prompt) - 1 : -1]
            own = torch.log_softmax(logits, -1)[torch.arange(len(ids)), torch.tensor(ids)]
            torch.testing.assert_close(own.cpu(), torch.tensor(logprobs), atol=1e-2, rtol=1e-2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.05)
