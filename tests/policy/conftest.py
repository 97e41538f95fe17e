"""A tiny policy laid out for training, a rule that scores answers, and a folder that passes for a reward model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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


@pytest.fixture(scope="session")
def tiny_reward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real BERT reward model of random weights, with the prompts that it hands on."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from preceptor.modeling.resolve import resolve_model

    folder = tmp_path_factory.mktemp("tiny-reward")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [{"prompt": f"Question number {i} about a fever", "split": "train"} for i in range(8)]
    rows.append({"prompt": "kept back", "split": "test"})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
