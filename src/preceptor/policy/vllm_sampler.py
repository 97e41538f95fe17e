"""Prompt token ids and a policy go in; answers that vLLM sampled, with the log-probability of every token, come out.

vLLM holds weights of its own. They are named by version: before each roll-out the policy is written as a folder
`policy-<version>` of safetensors, which the engine reads in place of the one before. The engine rounds otherwise than
training does, so what it says of its tokens is kept, and the loss corrects for the difference
(`losses.importance_weights`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from preceptor.errors import ConfigError
from preceptor.modeling.quiet import quiet_transformers
from preceptor.policy.config import PolicyConfig


class Drawn(NamedTuple):
    """Sampled tokens of one answer, and the log-probability that the engine gave to each when it was drawn."""

    ids: list[int]
    logprobs: list[float]


class Engine(Protocol):
    """What samples: weights by folder, then one answer a (prompt, seed), at a temperature."""

    def load(self, folder: Path) -> None: ...
    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        *,
        eos: Sequence[int],
        max_new_tokens: int,
        temperature: float,
    ) -> list[Drawn]: ...


class VersionedSampler:
    """An engine that is given the policy's present weights before it samples."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        self.version = -1

    def sync(self, model: Any) -> str:
        """Give the engine the weights of `model` as the next version; returns its name."""
        before = self._named(self.version)
        self.version += 1
        target = self._named(self.version)
        shutil.rmtree(target, ignore_errors=True)  # of an interrupted run
        with quiet_transformers():
            model.save_pretrained(target)
        self.engine.load(target)
        shutil.rmtree(before, ignore_errors=True)
        return target.name

    def draw(
        self,
        prompts: Sequence[list[int]],
        *,
        eos: Sequence[int],
        n: int,
        max_new_tokens: int,
        temperature: float,
        seed: int,
        streams: Sequence[int] | None = None,
    ) -> list[list[Drawn]]:
        """`n` answers to each prompt; each ends with an `eos` id or at `max_new_tokens`.

        As in the built-in sampler each answer has a seed of its own, made of (seed, prompt number, answer index).
        """
        numbers = range(len(prompts)) if streams is None else streams
        flat = self.engine.sample(
            [ids for ids in prompts for _ in range(n)],
            [answer_seed(seed, number, answer) for number in numbers for answer in range(n)],
            eos=eos,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
        )
        return [flat[start : start + n] for start in range(0, len(flat), n)]

    def _named(self, version: int) -> Path:
        return self.folder / f"policy-{version:06d}"


def answer_seed(seed: int, number: int, answer: int) -> int:
    """A seed of 31 bits for one answer."""
    return int(np.random.SeedSequence([seed, number, answer]).generate_state(1)[0] >> 1)


class VllmEngine:
    """vLLM in this process, on the GPU that training uses too."""

    def __init__(self, config: PolicyConfig, *, max_length: int) -> None:
        self._vllm = require_vllm()
        self._settings: dict[str, Any] = {
            "dtype": config.precision,
            "max_model_len": max_length,
            "gpu_memory_utilization": config.sampler_memory,
            "skip_tokenizer_init": True,  # token ids go in and come out
            "generation_config": "vllm",  # none of the model's own sampling habits
            "logprobs_mode": "processed_logprobs",  # at the temperature that was sampled at
            "trust_remote_code": False,
            "seed": config.seed,
        }
        self._llm: Any = None

    def load(self, folder: Path) -> None:
        """Start on the weights of a folder, or read them in place of those before."""
        if self._llm is None:
            self._llm = self._vllm.LLM(model=str(folder), **self._settings)
            return
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(folder)})
        self._llm.reset_prefix_cache()  # it holds keys and values of the weights before

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        *,
        eos: Sequence[int],
        max_new_tokens: int,
        temperature: float,
    ) -> list[Drawn]:
        """One answer to each prompt, from its own seed."""
        wanted = [
            self._vllm.SamplingParams(
                temperature=temperature,
                max_tokens=max_new_tokens,
                stop_token_ids=list(eos),
                ignore_eos=True,  # the ids above say what ends an answer
                seed=seed,
                logprobs=0,  # of the drawn token alone
                detokenize=False,
            )
            for seed in seeds
        ]
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs = [request.outputs[0] for request in self._llm.generate(asked, wanted, use_tqdm=False)]
        return [
            Drawn(
                list(one.token_ids),
                [entry[token].logprob for token, entry in zip(one.token_ids, one.logprobs, strict=True)],
            )
            for one in outputs
        ]


def require_vllm() -> Any:
    """The library; raises ConfigError, saying what to do, where it or the GPU that it needs is not there."""
    import torch

    try:
        import vllm
    except ImportError:
        raise ConfigError(
            "vLLM is not installed: `pip install preceptor[vllm]` on a machine with an NVIDIA GPU, "
            "or sample with sampler built_in."
        ) from None
    if not torch.cuda.is_available():
        raise ConfigError("vLLM samples on an NVIDIA GPU and torch sees none: use sampler built_in.")
    return vllm
