"""Small real models: a one-layer causal model with SmolLM2's tokenizer and a one-layer BERT that scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.modeling.resolve import default_models_dir, resolve_model
from preceptor.settings import Settings
from preceptor.stage import StageContext

TOPICS = ["warfarin", "asthma", "chest pain", "insulin", "a rash", "fever", "lithium", "a cough"]


def save_policy(folder: Path, *, seed: int) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("gpt2", models_dir=default_models_dir()))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("policies")
    for name, seed in (("one", 1), ("two", 2)):
        save_policy(root / name, seed=seed)
    return {"one": root / "one", "two": root / "two"}


@pytest.fixture(scope="session")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("scorer")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("bert-base-uncased"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    prompts = [{"prompt": f"What about {topic}?", "split": "train"} for topic in TOPICS[:4]]
    prompts += [{"prompt": f"What about {topic}?", "split": "test"} for topic in TOPICS[4:]]
    pairs = [
        {
            "prompt": row["prompt"],
            "chosen": "Check the kidneys first and ask about other medicines.",
            "rejected": "Fine.",
            "metadata": {"split": row["split"]},
        }
        for row in prompts
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (folder / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return folder


@pytest.fixture
def context(settings: Settings, engine: sa.Engine, store: ArtifactStore, policies: dict[str, Path]) -> StageContext:
    return StageContext(settings.model_copy(update={"policy_model": str(policies["two"])}), engine, store)


@pytest.fixture
def candidate(store: ArtifactStore, policies: dict[str, Path]) -> str:
    with store.building("policy") as build:
        shutil.copytree(policies["one"], build.path, dirs_exist_ok=True)
    return build.artifact.id


@pytest.fixture(scope="session")
def judged_by_two_panels(tmp_path_factory: pytest.TempPathFactory, scorer_folder: Path) -> Path:
    """A reward model on a tiny encoder, trained on some clinicians, with the gold judge of the others."""
    from preceptor.reward.build import build_reward_model
    from preceptor.reward.config import RewardConfig

    folder = tmp_path_factory.mktemp("two-panels")
    rows = [
        {
            "prompt": f"What about case {case}?",
            "chosen": f"Check the kidneys first and ask about case {case}. {rater}",
            "rejected": "Fine fine fine fine fine.",
            "metadata": {"split": "test" if case > 9 else "train", "rater": f"rater_{rater}"},
        }
        for case in range(12)
        for rater in range(8)
    ]
    data, out = folder / "pairs.jsonl", folder / "model"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out.mkdir()
    encoder = folder / "encoder"
    shutil.copytree(scorer_folder, encoder)
    config = json.loads((encoder / "config.json").read_text()) | {"architectures": ["BertModel"]}
    (encoder / "config.json").write_text(json.dumps(config))
    build_reward_model(
        data,
        out,
        RewardConfig(dataset=str(data), base_model=str(encoder), mode="frozen", ensemble=2, cross_encoder="never"),
    )
    return out


@pytest.fixture
def trained(store: ArtifactStore, policies: dict[str, Path]) -> str:
    """A policy whose training left answers to held-out prompts: to the gold judge, the second look is the best."""
    looks = [
        (0, "Fine fine fine fine fine."),
        (5, "Check the kidneys first and ask."),
        (10, "Fine fine fine fine fine."),
    ]
    with store.building("policy") as build:
        shutil.copytree(policies["one"], build.path, dirs_exist_ok=True)
        rows = [
            {
                "update": update,
                "prompt": f"How about {n}?",
                "response": f"{text} {n}",
                "score": update / 5,
                "kl": update,
            }
            for update, text in looks
            for n in range(6)
        ]
        (build.path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        card = {"kind": "policy", "base_model": str(policies["two"]), "published_update": 10, "config": {}}
        (build.path / "preceptor.json").write_text(json.dumps(card))
    return build.artifact.id
