"""A tiny policy laid out for training, a rule that scores answers, and a folder that passes for a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.checkpoint import RunState, load_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.rollout import Prompt


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny products gain nothing from a second thread, and one thread gives the same bits every time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def count_letter(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
    """The share of the letter e in an answer: dense, and easy for a random policy to learn."""
    return np.array([text.count("e") / max(1, len(text)) for text in responses], dtype=np.float32)


@pytest.fixture
def letter_score() -> Callable[..., Any]:
    return count_letter


@pytest.fixture
def small_config() -> Callable[..., PolicyConfig]:
    """A config small enough for a random policy of three layers."""

    def make(**fields: Any) -> PolicyConfig:
        values: dict[str, Any] = {
            "reward_model": "none",
            "precision": "float32",
            "train_layers": 2,
            "batch_size": 16,
            "mini_batch_size": 8,
            "ppo_epochs": 2,
            "learning_rate": 3e-3,
            "max_new_tokens": 8,
            "missing_eos_penalty": 0.0,
            "init_kl_coef": 0.01,
            "checkpoint_every": 2,
        }
        return PolicyConfig(**{**values, **fields})

    return make


def _run(
    model_folder: Path,
    config: PolicyConfig,
    score: Callable[[Sequence[str], Sequence[str]], Any],
    folder: Path,
    *,
    prompts: int = 8,
    stop_after: int | None = None,
) -> tuple[Networks, RunState]:
    """Train a tiny model by PPO as far as `stop_after` updates, from the checkpoint in `folder` if it has one."""
    model, tokenizer = load_policy(model_folder)
    texts = [f"Question {i}" for i in range(prompts)]
    networks = make_networks(model, config)
    optimizer = make_optimizer(networks, config)
    settings = config.model_dump(mode="json")
    state = load_checkpoint(folder, networks, optimizer, settings=settings) or RunState(kl_coef=config.init_kl_coef)
    done = [state.update]

    def progress(update: int, total: int, metrics: dict[str, Any]) -> None:
        assert update <= total
        done[0] = update

    state = train(
        networks,
        optimizer,
        state,
        tokenizer,
        [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in texts],
        score,
        config,
        eos=eos_ids(model, tokenizer),
        folder=folder,
        settings=settings,
        progress=progress,
        is_canceled=lambda: stop_after is not None and done[0] >= stop_after,
    )
    return networks, state


@pytest.fixture
def ppo_run() -> Callable[..., tuple[Networks, RunState]]:
    return _run
