"""A cross-encoder reads answers window by window, each with the prompt, and nothing but the texts decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preceptor.modeling.cross_encoder import CrossEncoder, load_cross_encoder, relevance, save_cross_encoder
from preceptor.modeling.resolve import resolve_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier with one output and random weights large enough to tell texts apart."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    path = tmp_path_factory.mktemp("cross-encoder")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=0.3, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> CrossEncoder:
    return load_cross_encoder(folder)


def test_a_short_answer_is_one_window_and_a_long_one_gives_best_mean_and_first(encoder: CrossEncoder) -> None:
    first = "Rest and drink water. " * 25  # 125 tokens, so that the next sentence opens another window
    second = "Call a doctor when the fever stays for more than three days or the child cannot drink. " * 2
    short, alone, long = relevance(encoder, ["fever"] * 3, ["Rest and drink water.", first, first + second])
    assert short.tolist() == [short[0]] * 3
    assert long[0] >= long[1]
    assert long[2] == pytest.approx(alone[0], abs=0.05)  # rounding of bfloat16
    assert long[0] != long[1]


def test_order_and_company_change_no_logit(encoder: CrossEncoder) -> None:
    prompts, answers = ["gout", "a rash", "asthma"], ["Rest.", "See a doctor today. " * 30, ""]
    together = relevance(encoder, prompts, answers)
    assert np.isfinite(together).all()
    assert np.allclose(together[::-1], relevance(encoder, prompts[::-1], answers[::-1]), atol=0.05)
    assert relevance(encoder, [], []).shape == (0, 3)


def test_a_saved_cross_encoder_keeps_its_digest_and_its_logits(encoder: CrossEncoder, tmp_path: Path) -> None:
    save_cross_encoder(encoder, tmp_path / "saved")
    again = load_cross_encoder(tmp_path / "saved")
    assert again.digest == encoder.digest
    texts = (["gout", "a rash"], ["Rest the joint.", "Never mind."])
    assert (relevance(again, *texts) == relevance(encoder, *texts)).all()
    assert str(tmp_path) not in (tmp_path / "saved" / "config.json").read_text()
