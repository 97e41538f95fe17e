"""A tiny policy laid out for training, a rule that scores answers, and a folder that passes for a reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from preceptor.policy.config import PolicyConfig


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
