"""Frozen mode from a file to a folder: planted preferences, honest report, files that others can open."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import ConfigError, DataError, InputError, ModelError, RunCanceled
from preceptor.modeling.resolve import resolve_model
from preceptor.reward.build import build_reward_model, choose_mode
from preceptor.reward.config import RewardConfig
from preceptor.reward.run import run, train_reward_model
from preceptor.stage import StageContext


def test_a_planted_preference_is_recovered_on_held_out_prompts(frozen_model: Path) -> None:
    report = json.loads((frozen_model / "report.json").read_text())
    assert report["mode"] == "frozen"
    assert report["accuracy"]["estimate"] >= 0.9
    assert report["accuracy"]["estimate"] >= report["baselines"]["length_only"]["estimate"] + 0.1
    assert report["ensemble"] | {"margin_spread": 0} == {"heads": 5, "bootstrapped_by": "rater", "margin_spread": 0}
    assert set(report["slices"]["agent"]) == {"triage_agent", "ward_agent"}
    assert report["held_out"]["prompts"] == 6
    assert report["mismatched_in_training"] > 20  # where two prompts share their chosen answer, none is made
    assert report["gate"] is None  # planted answers fit every prompt, so nothing is off topic
    assert report["mismatched"]["pairs"] > 0


def test_the_folder_holds_what_ppo_and_plain_transformers_need(frozen_model: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    prompts = [json.loads(line) for line in (frozen_model / "prompts.jsonl").read_text().splitlines()]
    assert len(prompts) == 32
    assert {row["split"] for row in prompts} == {"train", "validation", "test"}
    model = AutoModelForSequenceClassification.from_pretrained(frozen_model)
    tokenizer = AutoTokenizer.from_pretrained(frozen_model)
    good = tokenizer("What helps a child with gout?", "Rest. See a doctor if it gets worse.", return_tensors="pt")
    bad = tokenizer("What helps a child with gout?", "Rest. Nothing can go wrong with it.", return_tensors="pt")
    assert float(model(**good).logits) > float(model(**bad).logits)
    assert {file.suffix for file in frozen_model.rglob("*") if file.is_file()} <= {
        ".json",
        ".jsonl",
        ".html",
        ".safetensors",
        ".txt",
    }
    assert not any(
        "/" in str(json.loads((frozen_model / f).read_text()).get("_name_or_path", "")) for f in ["config.json"]
    )


def test_the_same_data_in_another_order_give_the_same_bytes(
    tmp_path: Path, write_rows: Any, planted: Any, frozen_model: Path
) -> None:
    data = write_rows(planted(64)[::-1])
    out = tmp_path / "again"
    out.mkdir()
    build_reward_model(
        data, out, RewardConfig(dataset=str(data), cross_encoder="never"), cache_dir=frozen_model.parent / "cache"
    )
    names = {str(file.relative_to(frozen_model)) for file in frozen_model.rglob("*") if file.is_file()}
    assert names == {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
    assert [name for name in names if (out / name).read_bytes() != (frozen_model / name).read_bytes()] == []


def test_the_stage_publishes_an_artifact_with_its_dataset_as_parent(
    tmp_path: Path, planted: Any, frozen_model: Path
) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    with store.building("dataset") as build:
        text = "".join(json.dumps(row) + "\n" for row in planted(24))
        (build.path / "preferences.jsonl").write_text(text)
    settings = SimpleNamespace(home=tmp_path, models_dir=tmp_path / "models", reward_model="bert-base-uncased")
    steps: list[tuple[int, int]] = []
    context = StageContext(
        settings=cast(Any, settings),
        engine=cast(Any, None),
        store=store,
        progress=lambda done, total, _: steps.append((done, total)),
    )
    result = run(RewardConfig(dataset=build.artifact.id, cross_encoder="never"), context)
    artifact = store.open(str(result.artifact_id), verify=True)
    assert artifact.kind == "reward_model"
    assert artifact.parents == [build.artifact.id]
    assert 0.0 <= result.metrics["accuracy"] <= 1.0
    assert result.metrics["test_pairs"] > 0
    assert "held-out pairs" in result.summary
    assert "fitted without epochs" in result.summary
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    kept = sorted(path.name for path in (tmp_path / "cache" / "embeddings").iterdir())
    assert [name.startswith("pooled-") for name in kept] == [False, True]  # the texts' vectors, the probe's inputs


def test_a_canceled_training_publishes_nothing(tmp_path: Path, write_rows: Any, planted: Any) -> None:
    store = ArtifactStore(tmp_path / "artifacts")
    settings = SimpleNamespace(home=tmp_path, models_dir=tmp_path / "models", reward_model="bert-base-uncased")
    context = StageContext(settings=cast(Any, settings), engine=cast(Any, None), store=store, is_canceled=lambda: True)
    with pytest.raises(RunCanceled):
        run(RewardConfig(dataset=str(write_rows(planted(8)))), context)
    assert list((tmp_path / "artifacts" / "reward_model").iterdir()) == []


def test_length_can_be_a_feature_when_asked(tmp_path: Path, write_rows: Any, planted: Any) -> None:
    from preceptor.modeling.reward_model import load_scorer

    rows = [{**row, "chosen": row["chosen"] + " It is so." * 8} for row in planted(32)]
    data = write_rows(rows)
    out = tmp_path / "model"
    out.mkdir()
    build_reward_model(
        data, out, RewardConfig(dataset=str(data), length_feature=True, ensemble=0, cross_encoder="never")
    )
    scorer = load_scorer(out)
    assert scorer.card.length_feature
    assert scorer.score_ensemble(["p"], ["r"]).shape == (1, 1)
    assert np.isfinite(scorer.score(["p"], [""])).all()


def test_auto_means_frozen_for_a_sentence_encoder_on_a_cpu_only(tiny_bert: Path) -> None:
    minilm = resolve_model("all-MiniLM-L6-v2")
    assert choose_mode(minilm, "auto", accelerator=False) == "frozen"
    assert choose_mode(minilm, "auto", accelerator=True) == "full"
    assert choose_mode(tiny_bert, "auto", accelerator=False) == "full"
    assert choose_mode(tiny_bert, "frozen", accelerator=False) == "frozen"


def test_the_seed_function_leaves_nothing_behind_when_data_are_bad(tmp_path: Path, write_rows: Any) -> None:
    one = {"prompt": "p", "chosen": "good", "rejected": "bad", "metadata": {}}
    data = write_rows([one])
    with pytest.raises(DataError, match=r"preferences\.jsonl"):
        train_reward_model(dataset_path=str(data), output_dir=str(tmp_path / "model"))
    with pytest.raises(ConfigError, match="epochs"):
        train_reward_model(dataset_path=str(data), output_dir=str(tmp_path / "model"), epochs=-1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not overwrite")
    with pytest.raises(InputError, match="not a reward model"):
        train_reward_model(dataset_path=str(data), output_dir=str(tmp_path / "mine"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "preferences.jsonl"]


def test_a_policy_as_base_model_is_refused(tmp_path: Path, write_rows: Any, planted: Any, tiny_gpt2: Path) -> None:
    data = write_rows(planted(8))
    with pytest.raises(ModelError, match="policy"):
        train_reward_model(str(tiny_gpt2), str(data), str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()
