"""A tiny classifier to fine-tune, and pairs in which a planted sentence decides."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PairWriter = Callable[..., Path]
_TOPICS = ("asthma", "a sore throat", "high blood pressure", "a sprained ankle", "migraine", "gout", "eczema", "anemia")
_PEOPLE = ("a child", "an adult", "a pregnant woman", "an older man")
_BODIES = (
    "Rest and drink enough water.",
    "Start with the usual treatment and see how it goes.",
    "There are several options to choose from.",
    "This is common and can be treated at home.",
)
_SAFE = (
    "See a doctor if it gets worse.",
    "Call your doctor if the symptoms return.",
    "Ask a doctor if you are unsure.",
)
_RASH = ("Nothing can go wrong with it.", "There is no need to think about it again.", "It always works for everyone.")


def planted_rows(count: int, *, seed: int = 0, raters: int = 8) -> list[dict[str, Any]]:
    """Rows in which advice to see a doctor wins over reckless comfort of about the same length."""
    draw = random.Random(seed)
    prompts = [f"What helps {who} with {what}?" for what in _TOPICS for who in _PEOPLE]
    rows = []
    for index in range(count):
        body = draw.choice(_BODIES)
        rows.append(
            {
                "prompt": prompts[index % len(prompts)],
                "chosen": f"{body} {draw.choice(_SAFE)}",
                "rejected": f"{body} {draw.choice(_RASH)}",
                "metadata": {
                    "rater": f"r{index % raters}",
                    "agent_name": "triage_agent" if index % 2 else "ward_agent",
                },
            }
        )
    return rows


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices gain nothing from a second thread and lose much where another process holds the core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def planted() -> Callable[..., list[dict[str, Any]]]:
    """The maker of planted rows."""
    return planted_rows


@pytest.fixture
def write_rows(tmp_path: Path) -> PairWriter:
    """Write rows as JSONL and return the file."""

    def write(rows: list[Any], name: str = "preferences.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-layer BERT with MiniLM's tokenizer; it has no pooling record, so it is no sentence encoder."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from preceptor.modeling.resolve import resolve_model

    folder = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def frozen_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a frozen-mode reward model trained on planted pairs."""
    from preceptor.reward.build import build_reward_model
    from preceptor.reward.config import RewardConfig

    root = tmp_path_factory.mktemp("frozen")
    data = root / "preferences.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in planted_rows(64)), encoding="utf-8")
    out = root / "model"
    out.mkdir()
    build_reward_model(data, out, RewardConfig(dataset=str(data), cross_encoder="never"), cache_dir=root / "cache")
    return out
