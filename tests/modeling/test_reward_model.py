"""Scorers: which folders are accepted, what is said of the others, and what a score may depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.errors import InputError, ModelError
from preceptor.modeling.embeddings import embed, load_encoder, sentence_starts
from preceptor.modeling.features import feature_blocks, pair_features
from preceptor.modeling.frozen_head import FrozenHead, save_head
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import Normalization, RewardCard, load_scorer, write_card


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder(resolve_model("all-MiniLM-L6-v2"), precision="float32")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier with one output, as plain transformers writes it."""
    return _classifier(tmp_path_factory.mktemp("classifier"), labels=1)


def _classifier(folder: Path, *, labels: int) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("all-MiniLM-L6-v2"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=labels, initializer_range=0.3, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_plain_classifier_is_scored_as_transformers_scores_it(
    classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setattr("preceptor.modeling.embeddings.has_fast_bfloat16", lambda _: False)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    prompts, responses = (
        ["fever in a child", "gout"],
        ["see a doctor today", "rest the joint and drink water, then wait"],
    )
    plain = [
        float(model(**tokenizer(p, r, return_tensors="pt")).logits) for p, r in zip(prompts, responses, strict=True)
    ]
    scores = load_scorer(classifier).score(prompts, responses)
    assert scores.dtype == np.float32
    assert scores == pytest.approx(plain, abs=1e-4)


def test_normalization_is_applied(classifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier, folder)
    write_card(RewardCard(mode="full", base="x", normalization=Normalization(mean=2.0, std=4.0)), folder)
    plain, scaled = (load_scorer(path).score(["gout"], ["rest"])[0] for path in (classifier, folder))
    assert scaled == pytest.approx((plain - 2.0) / 4.0, abs=1e-5)


def test_a_full_model_is_an_ensemble_of_one(classifier: Path) -> None:
    scorer = load_scorer(classifier)
    assert scorer.score_ensemble(["a", "b"], ["c", "d"]).shape == (1, 2)
    assert scorer.score_with_deviation(["a", "b"], ["c", "d"])[1] is None
    assert scorer.score([], []).shape == (0,)
    with pytest.raises(InputError, match="2 and 1"):
        scorer.score(["a", "b"], ["c"])


def test_other_kinds_of_model_are_refused_by_what_they_are(tmp_path: Path, tiny_gpt2: Path) -> None:
    with pytest.raises(ModelError, match="is a policy"):
        load_scorer(tiny_gpt2)
    with pytest.raises(ModelError, match="never trained to score"):
        load_scorer(resolve_model("all-MiniLM-L6-v2"))
    with pytest.raises(ModelError, match="3 outputs"):
        load_scorer(_classifier(tmp_path / "three", labels=3))
    with pytest.raises(ModelError, match="missing-folder"):
        load_scorer(tmp_path / "missing-folder")


def test_a_torn_folder_is_refused(classifier: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "torn"
    shutil.copytree(classifier, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        load_scorer(folder)
    (folder / "preceptor.json").write_text('{"mode": "frozen"')
    with pytest.raises(ModelError, match=r"preceptor\.json"):
        load_scorer(folder)


def test_a_head_of_other_features_or_another_encoder_is_refused(classifier: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(classifier, folder)
    count = max(block.stop for block in feature_blocks(32).values())
    save_head(FrozenHead(np.zeros(count), np.ones(count), np.zeros((1, count)), np.zeros(1)), folder)
    with pytest.raises(ModelError, match=r"no preceptor\.json"):
        load_scorer(folder)
    card = {"mode": "frozen", "base": "x", "features": "of last year", "encoder_digest": "0"}
    (folder / "preceptor.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="other features"):
        load_scorer(folder)
    from preceptor.modeling.features import FEATURES_VERSION

    (folder / "preceptor.json").write_text(json.dumps({**card, "features": FEATURES_VERSION}))
    with pytest.raises(ModelError, match="not the one"):
        load_scorer(folder)


def test_embeddings_equal_the_encoders_own_mean(encoder: Any) -> None:
    import torch

    text = "Take it with food. Call us if a rash appears."
    own = encoder.model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    found = embed(encoder, [text, "padding that is a good deal longer than the first text, so that it matters"])[0]
    assert np.allclose(found.last, own.mean(0).detach().numpy(), atol=1e-4)
    assert found.sentences.shape == (2, 384)
    ids = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    first = len(encoder.tokenizer("Take it with food.", add_special_tokens=False)["input_ids"])
    parts = [own[1 : 1 + first].mean(0), own[1 + first : 1 + len(ids)].mean(0)]
    assert np.allclose(found.sentences, torch.stack(parts).detach().numpy(), atol=1e-4)


def test_nothing_of_a_long_text_is_cut(encoder: Any) -> None:
    long = "The dose is raised every week until it works. " * 60
    last = "Stop at once and call an ambulance."
    plain, ended = embed(encoder, [long, long + last])
    assert len(ended.sentences) == len(plain.sentences) + 1 == 61
    assert not np.allclose(plain.last, ended.last, atol=1e-3)


def test_an_empty_text_gives_zeros_and_finite_features(encoder: Any) -> None:
    empty, prompt = embed(encoder, ["", "a prompt"])
    assert empty.sentences.shape == (0, 384)
    assert not empty.last.any()
    assert np.isfinite(pair_features([prompt], [empty], [""])).all()


def test_repetition_and_an_unfinished_end_are_seen(encoder: Any) -> None:
    texts = [
        "Drink water and rest. Call if it gets worse.",
        "Drink water and rest. " * 2,
        "Drink water and rest. Call if",
    ]
    prompt, *vectors = embed(encoder, ["flu", *texts])
    blocks = feature_blocks(384)
    features = pair_features([prompt] * 3, vectors, texts)
    distinct, ended = features[:, blocks["form"]][:, 2], features[:, blocks["form"]][:, 3]
    assert distinct[1] < distinct[0] == 1.0
    assert ended.tolist() == [1.0, 1.0, 0.0]
    sameness = features[:, blocks["form"]][:, 0]
    assert sameness[1] > sameness[0]


def test_length_is_no_feature_unless_asked(encoder: Any) -> None:
    assert "length" not in feature_blocks(384)
    assert feature_blocks(384, length=True)["length"] == slice(1161, 1162)


@pytest.mark.parametrize(
    ("text", "starts"),
    [("One. Two! Three", [0, 5, 10]), ("a\n\nb", [0, 3]), ("", [0]), ("  ", [0]), ("No break here", [0])],
)
def test_sentences_start_where_they_should(text: str, starts: list[int]) -> None:
    assert sentence_starts(text) == starts
