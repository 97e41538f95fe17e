"""DPO, KTO, RLOO and GRPO behind the stage's contract: what they learn, what they leave, how they stop and go on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import ConfigError, ConflictError, DataError, RunCanceled
from preceptor.modeling.reward_model import FullScorer
from preceptor.policy.config import PolicyConfig
from preceptor.policy.run import run, train_with_ppo
from preceptor.policy.trl_state import STATE_FILE, resumed
from preceptor.settings import Settings
from preceptor.stage import StageContext

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed: pip install preceptor[trl]")
FAST: dict[str, Any] = {
    "precision": "float32",
    "train_layers": 1,
    "batch_size": 8,
    "max_new_tokens": 6,
    "missing_eos_penalty": 0.0,
    "learning_rate": 3e-3,
}
GOOD, BAD = "Check the kidney first.", "Call me later."


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Every pair prefers one and the same answer: a preference planted for all prompts."""
    rows = [{"prompt": f"Question number {i} about a fever", "chosen": GOOD, "rejected": BAD} for i in range(8)]
    return _written(tmp_path / "pairs.jsonl", rows)


@pytest.fixture
def thumbs(tmp_path: Path) -> Path:
    """The same preference as thumbs."""
    rows = [
        {"prompt": f"Question number {i} about a fever", "completion": text, "label": label}
        for i in range(4)
        for text, label in ((GOOD, True), (BAD, False))
    ]
    return _written(tmp_path / "thumbs.jsonl", rows)


@pytest.fixture
def train(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """One training into `<tmp>/out`, or another folder of that name."""

    def train_it(
        algorithm: str, *, out: str = "out", base: Path = tiny_llama, reward: Path = tiny_reward, **more: Any
    ) -> dict[str, Any]:
        fields = FAST | ({"answers_per_prompt": 2, "ppo_epochs": 1} if algorithm in ("rloo", "grpo") else {}) | more
        return train_with_ppo(str(base), str(reward), str(tmp_path / out), algorithm=algorithm, **fields)

    return train_it


@needs_trl
@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
def test_a_planted_preference_widens_the_margin_on_an_unseen_prompt(
    algorithm: str, train: Callable[..., Any], pairs: Path, thumbs: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    metrics = train(
        algorithm,
        preferences_file=pairs if algorithm == "dpo" else thumbs,
        mode="hydra" if algorithm == "dpo" else "full",
        epochs=4,
        progress=lambda done, total, _: seen.append((done, total)),
    )
    before, after = (_margin(folder, "What of a cough?") for folder in (tiny_llama, tmp_path / "out"))
    assert after > before + 1
    assert seen == [(1, 2), (2, 2), (1, 4), (2, 4), (3, 4), (4, 4)]  # the reference's pass, then the updates
    assert (metrics["updates"], metrics["rows"]) == (4, 8)
    assert metrics["margins_last"] > metrics["margins_first"] == 0  # the reference is what training started from


@needs_trl
@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
def test_the_references_pass_over_the_rows_can_be_stopped(
    algorithm: str, train: Callable[..., Any], pairs: Path, thumbs: Path
) -> None:
    seen: list[int] = []
    with pytest.raises(RunCanceled, match="before its first update"):
        train(
            algorithm,
            preferences_file=pairs if algorithm == "dpo" else thumbs,
            progress=lambda done, *_: seen.append(done),
            is_canceled=lambda: len(seen) == 1,
        )
    assert seen == [1]


@needs_trl
def test_the_folder_is_plain_and_says_how_it_was_made(train: Callable[..., Any], pairs: Path, tmp_path: Path) -> None:
    train("dpo", preferences_file=pairs)
    out = tmp_path / "out"
    card = json.loads((out / "preceptor.json").read_text())
    assert (card["kind"], card["algorithm"], card["updates"]) == ("policy", "dpo", 1)
    assert card["versions"]["trl"].startswith("1.16.")
    assert {"base_digest", "reward_digest", "prompt_version", "config", "published_update"} <= card.keys()
    (row,) = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"update", "loss", "rewards/margins", "rewards/accuracies", "logps/chosen"} <= row.keys()
    assert not {path.suffix for path in out.rglob("*")} & {".bin", ".pt", ".pth", ".pkl"}
    assert not (tmp_path / "out.training").exists()


@needs_trl
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_a_reward_model_with_another_tokenizer_scores_the_roll_outs(
    algorithm: str, train: Callable[..., Any], tiny_llama: Path, tiny_gpt2: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base = tiny_llama if algorithm == "rloo" else tiny_gpt2
    reward = shutil.copytree(tiny_reward, tmp_path / "reward")
    with (reward / "prompts.jsonl").open("a") as file:
        file.write("".join(json.dumps({"prompt": f"Held {i}?", "split": "validation"}) + "\n" for i in range(3)))
    metrics = train(algorithm, epochs=2, base=base, reward=reward, evaluate_every=2)
    assert metrics["updates"] == 4  # 8 prompts twice, 4 prompts a roll-out
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert all(row["reward_std"] > 0 and row["grad_norm"] > 0 for row in rows)
    assert [row["update"] for row in rows if "held_out/kl" in row] == [2, 4]
    assert metrics["published_update"] in (0, 2, 4)
    trained, untrained = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (tmp_path / "out", base)
    )
    moved = {name for name, value in trained.items() if (value != untrained[name]).any()}
    top = ("model.layers.2.", "model.norm.", "transformer.h.2.", "transformer.ln_f.")
    assert all(name.startswith(top) for name in moved)
    assert bool(moved) == bool(metrics["published_update"])


@needs_trl
@pytest.mark.parametrize("algorithm", ["dpo", "rloo"])
def test_a_stopped_run_goes_on_to_the_weights_of_an_unbroken_one(
    algorithm: str, train: Callable[..., Any], pairs: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"epochs": 4, "preferences_file": pairs} if algorithm == "dpo" else {"epochs": 2}
    train(algorithm, out="whole", **more)
    done: list[int] = []
    stopped: dict[str, Any] = {
        "progress": lambda update, _total, metrics: done.extend([update] if metrics else []),
        "is_canceled": lambda: len(done) >= 1,
    }
    with pytest.raises(RunCanceled, match="after update 2"):
        train(algorithm, **more, **stopped)
    assert not (tmp_path / "out").exists()
    work = tmp_path / "out.training"
    written = [path for path in work.rglob("*") if path.is_file() and path.name != "in-use"]  # an empty lock
    assert {path.suffix for path in written} <= {".safetensors", ".json", ".jsonl", ".md"}  # no pickle
    whole = next(path.parent for path in written if path.name == STATE_FILE)
    for number, part in ((97, "model.safetensors"), (98, "optimizer.json")):
        (Path(shutil.copytree(whole, work / f"checkpoint-{number}")) / part).unlink()  # a copy was cut off
    (work / "checkpoint-99").mkdir()  # a kill inside a write leaves a folder without our state
    with pytest.raises(ConflictError, match="another learning_rate"):
        train(algorithm, **more | {"learning_rate": 1e-3})
    if algorithm == "dpo":
        before = pairs.read_text()
        pairs.write_text(before.replace(GOOD, BAD + " " + GOOD))
        with pytest.raises(ConflictError, match="another content of preferences_file"):
            train(algorithm, **more)
        pairs.write_text(before)
    assert train(algorithm, **more)["updates"] == 4
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@needs_trl
def test_a_stopped_run_whose_start_did_not_come_back_begins_anew(
    train: Callable[..., Any], pairs: Path, tmp_path: Path
) -> None:
    seen: list[dict[str, Any]] = []
    more: dict[str, Any] = {"epochs": 4, "preferences_file": pairs}
    with pytest.raises(RunCanceled, match="after update 2"):
        train("dpo", **more, progress=lambda *told: seen.append(told[2]), is_canceled=lambda: any(seen))
    work = tmp_path / "out.training"
    settings = json.loads(next(work.glob(f"checkpoint-*/{STATE_FILE}")).read_text())["settings"]
    assert resumed(work, settings) is not None
    for part in ("warm_start.json", "start/model.safetensors"):
        (work / part).rename(tmp_path / "elsewhere")
        assert resumed(work, settings) is None
        (tmp_path / "elsewhere").rename(work / part)
    (work / "start" / "model.safetensors").unlink()
    assert train("dpo", **more)["updates"] == 4


@needs_trl
def test_the_stage_feeds_the_datasets_thumbs_to_kto_and_goes_on_when_it_was_stopped(
    settings: Settings,
    engine: sa.Engine,
    store: ArtifactStore,
    thumbs: Path,
    tiny_llama: Path,
    tiny_reward: Path,
) -> None:
    with store.building("dataset") as dataset:
        (dataset.path / "preferences.jsonl").write_text("")
        shutil.copyfile(thumbs, dataset.path / "unpaired.jsonl")
    with store.building("reward_model") as reward:
        shutil.copytree(tiny_reward, reward.path, dirs_exist_ok=True)
        reward.parents.append(dataset.artifact.id)
    config = PolicyConfig(
        algorithm="kto", reward_model=reward.artifact.id, base_model=str(tiny_llama), epochs=3, **FAST
    )
    context = StageContext(settings=settings, engine=engine, store=store, run_id="run-1")
    seen: list[dict[str, Any]] = []
    with pytest.raises(RunCanceled, match="after update 2"):
        run(config, replace(context, progress=lambda *told: seen.append(told[2]), is_canceled=lambda: any(seen)))
    assert list((settings.home / "work").glob("policy-*/checkpoint-*"))
    result = run(config, context)
    assert result.artifact_id is not None
    artifact = store.open(result.artifact_id, verify=True)
    assert artifact.parents == [reward.artifact.id]
    assert not [name for name in artifact.files if Path(name).suffix in {".bin", ".pt", ".pth", ".pkl"}]
    assert result.summary.startswith("KTO took 3 updates on 8 rows")
    assert not list((settings.home / "work").glob("*"))


@needs_trl
def test_nothing_is_sent_anywhere(train: Callable[..., Any], pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl.trainer import base_trainer

    sent: list[Any] = []
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(base_trainer, "send_telemetry", lambda *args, **_: sent.append(args))
    train("dpo", preferences_file=pairs)
    assert not sent


@needs_trl
def test_on_a_machine_with_several_gpus_one_is_used_and_a_step_takes_as_many_rows(
    train: Callable[..., Any], pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import DPOConfig

    plain = DPOConfig.__post_init__

    def as_if_four(arguments: Any) -> None:
        plain(arguments)
        _ = arguments.n_gpu  # transformers counts them now
        arguments._n_gpu = 4

    monkeypatch.setattr(DPOConfig, "__post_init__", as_if_four)
    assert train("dpo", preferences_file=pairs, epochs=2, batch_size=4)["updates"] == 4


@needs_trl
def test_training_that_breaks_down_is_one_sentence(train: Callable[..., Any], pairs: Path) -> None:
    with pytest.raises(DataError, match="loss of dpo is not a number: lower learning_rate"):
        train("dpo", preferences_file=pairs, epochs=3, learning_rate=1e30)


@needs_trl
@pytest.mark.parametrize("scaled", [True, False])
def test_a_constant_reward_model_is_refused_whether_or_not_its_scores_are_scaled(
    scaled: bool, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FullScorer, "score", lambda _self, _prompts, responses: np.ones(len(responses)))
    with pytest.raises(DataError, match="8 answers the same score: it cannot teach"):
        train("rloo", normalize_scores=scaled)


@needs_trl
def test_preferences_that_are_nowhere_are_asked_for(train: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="give preferences_file"):
        train("kto")


def test_without_trl_the_message_names_the_extra(
    train: Callable[..., Any], pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ConfigError, match=r"pip install preceptor\[trl\]"):
        train("dpo", preferences_file=pairs)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"algorithm": "dpo", "ppo_epochs": 2}, "dpo does not use ppo_epochs"),
        ({"algorithm": "kto", "vf_coef": 0.5}, "kto does not use vf_coef"),
        ({"algorithm": "grpo", "lam": 0.9, "answers_per_prompt": 2}, "grpo does not use lam"),
        ({"algorithm": "rloo"}, "answers_per_prompt must be at least 2"),
        ({"algorithm": "kto", "mini_batch_size": 1}, "mini_batch_size must be at least 2"),
        ({"algorithm": "ppo", "preferences_file": "pairs.jsonl"}, "ppo does not use preferences_file"),
    ],
)
def test_settings_that_would_change_nothing_are_refused(
    fields: dict[str, Any], said: str, tiny_reward: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train_with_ppo("gpt2", str(tiny_reward), str(tmp_path / "out"), **fields)


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _margin(folder: Path, prompt: str) -> float:
    """Log-probability of the good answer less that of the bad one."""
    import torch

    from preceptor.modeling.policy_model import load_policy
    from preceptor.modeling.sequences import encode_prompt

    model, tokenizer = load_policy(folder)
    asked, _ = encode_prompt(tokenizer, prompt)

    def logprob(text: str) -> float:
        answer = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            scores = model(torch.tensor([asked + answer])).logits[0, len(asked) - 1 : -1].log_softmax(-1)
        return float(scores.gather(1, torch.tensor(answer)[:, None]).sum())

    return logprob(GOOD) - logprob(BAD)
