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
