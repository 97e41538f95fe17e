"""The stage, the seed document's function and its command: files in, a policy that plain transformers loads out."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Round, Run
from preceptor.errors import (
    ConfigError,
    ConflictError,
    InputError,
    ModelError,
    NotFoundError,
    RunCanceled,
    StorageError,
)
from preceptor.policy.config import DEMO, PolicyConfig
from preceptor.policy.run import run, train_with_ppo
from preceptor.policy.work import work_folder
from preceptor.settings import Settings
from preceptor.stage import StageContext

FAST: dict[str, Any] = {
    "precision": "float32",
    "train_layers": 1,
    "batch_size": 8,
    "max_new_tokens": 6,
    "ppo_epochs": 1,
    "missing_eos_penalty": 0.0,
}
BACKEND = Path(__file__).resolve().parents[2] / "backend"


def test_the_trained_policy_loads_and_answers_in_plain_transformers(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "ppo"
    seen: list[tuple[int, int]] = []
    metrics = train_with_ppo(
        str(tiny_llama), str(tiny_reward), str(out), epochs=2, progress=lambda d, t, _: seen.append((d, t)), **FAST
    )
    assert metrics["updates"] == 2
    assert metrics["episodes"] == 16
    assert seen == [(1, 2), (2, 2)]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    ids = tokenizer("Fever?", return_tensors="pt")
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]
    before = AutoModelForCausalLM.from_pretrained(tiny_llama).state_dict()
    assert any((value != before[name]).any() for name, value in model.state_dict().items())
    card = json.loads((out / "preceptor.json").read_text())
    assert (card["kind"], card["prompts"], card["updates"]) == ("policy", 8, 2)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert not {path.suffix for path in out.iterdir()} & {".bin", ".pt", ".pkl"}
    assert not (tmp_path / "ppo.training").exists()


def test_a_trained_policy_can_be_trained_again_and_replaced(tiny_gpt2: Path, tiny_reward: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "ppo")
    train_with_ppo(str(tiny_gpt2), str(tiny_reward), out, **FAST)
    metrics = train_with_ppo(out, str(tiny_reward), out, **FAST)
    assert metrics["updates"] == 1


def test_equal_runs_give_equal_files(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / name), epochs=2, **FAST)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("size", [3_000, 60_000], ids=["tokenizer or config", "weights"])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_policy(
    size: int, tiny_llama: Path, tiny_reward: Path, tmp_path: Path, small_disk: Callable[[int], Any]
) -> None:
    with small_disk(size), pytest.raises(StorageError, match=r"Writing .* failed: File too large\. Free some space"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "ppo"), checkpoint_every=99, **FAST)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.iterdir())
    train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "ppo"), checkpoint_every=99, **FAST)
    assert (tmp_path / "ppo" / "model.safetensors").is_file()


def test_a_checkpoint_that_does_not_fit_ends_training_with_one_sentence(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path, small_disk: Callable[[int], Any]
) -> None:
    with small_disk(3_000), pytest.raises(StorageError, match=r"checkpoint-000001 failed: File too large"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "ppo"), epochs=2, checkpoint_every=1, **FAST)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture
def full_for_policies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The disk takes checkpoints but not the finished policy, until this is undone."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target.name == "ppo" or target.parent.name == "policy":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    return monkeypatch


def test_a_policy_that_cannot_be_published_loses_nothing_of_its_training(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path, full_for_policies: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def train() -> None:
        more: dict[str, Any] = {"epochs": 3, "checkpoint_every": 2, **FAST}
        out, progress = str(tmp_path / "ppo"), lambda update, *_: done.append(update)
        train_with_ppo(str(tiny_llama), str(tiny_reward), out, progress=progress, **more)

    with pytest.raises(StorageError, match=r"ppo failed: No space left on device"):
        train()
    full_for_policies.undo()
    train()
    assert done == [1, 2, 3, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["ppo"]


def test_a_policy_given_as_reward_model_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a policy"):
        train_with_ppo(str(tiny_llama), str(tiny_llama), str(tmp_path / "out"), **FAST)


def test_a_reward_model_given_as_policy_is_refused(tiny_reward: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a reward model"):
        train_with_ppo(str(tiny_reward), str(tiny_reward), str(tmp_path / "out"), **FAST)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_in_it_is_never_replaced(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a trained policy"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path), **FAST)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 6, "mini_batch_size": 4}, "multiple of mini_batch_size"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"kl": 1}, "kl"),
        ({"train_layers": 3}, "train_layers 3"),
    ],
)
def test_a_bad_setting_is_named(
    fields: dict[str, Any], message: str, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "out"), **{**FAST, **fields})


def test_a_missing_reward_model_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        train_with_ppo(str(tiny_llama), str(tmp_path / "nowhere"), str(tmp_path / "out"))


def test_the_defaults_are_those_of_the_seed_document() -> None:
    config = PolicyConfig(reward_model="x")
    assert config.learning_rate == 1.4e-5
    assert (config.batch_size, config.mini_batch_size, config.gradient_accumulation_steps) == (16, 4, 1)
    assert (config.early_stopping, config.target_kl, config.ppo_epochs, config.seed) == (True, 0.1, 4, 42)


def test_the_demo_settings_are_a_valid_config() -> None:
    config = PolicyConfig(reward_model="x", **DEMO)
    assert config.answers_per_prompt > 1
    assert config.held_out_prompts * config.held_out_answers >= 32  # with fewer the published policy is left to chance


def _context(settings: Settings, engine: sa.Engine, store: ArtifactStore, **fields: Any) -> StageContext:
    return StageContext(settings=settings, engine=engine, store=store, **{"run_id": "run-1", **fields})


def _published_reward(store: ArtifactStore, folder: Path, tmp_path: Path) -> str:
    rows = [{"prompt": f"Q{i}", "chosen": "See a nurse.", "rejected": "No.", "metadata": {}} for i in range(12)]
    with store.building("dataset") as dataset:
        (dataset.path / "preferences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with store.building("reward_model") as build:
        shutil.copytree(folder, build.path, dirs_exist_ok=True)
        build.parents.append(dataset.artifact.id)
    return build.artifact.id


def test_the_stage_publishes_a_policy_with_its_parent_and_leaves_no_checkpoint(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = _published_reward(store, tiny_reward, tmp_path)
    config = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), **FAST)
    result = run(config, _context(settings, engine, store))
    assert result.artifact_id is not None
    artifact = store.open(result.artifact_id, verify=True)
    assert artifact.kind == "policy"
    assert artifact.parents == [reward]
    assert {"model.safetensors", "config.json", "metrics.jsonl", "preceptor.json"} <= artifact.files.keys()
    assert "PPO took 1 roll-out (" in result.summary
    assert not list((settings.home / "work").glob("*"))
    again = run(
        PolicyConfig(reward_model=reward, base_model=result.artifact_id, **FAST), _context(settings, engine, store)
    )
    assert again.artifact_id is not None
    assert set(store.open(again.artifact_id).parents) == {reward, result.artifact_id}


def test_a_canceled_stage_publishes_nothing_and_the_same_command_goes_on(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = _published_reward(store, tiny_reward, tmp_path)
    config = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), epochs=3, **FAST)
    done: list[int] = []
    context = _context(
        settings, engine, store, progress=lambda d, _, __: done.append(d), is_canceled=lambda: len(done) == 2
    )
    with pytest.raises(RunCanceled, match="after 2 of 3"):
        run(config, context)
    assert not list(store.root.glob("policy/*"))
    other = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), epochs=1, seed=7, **FAST)
    run(other, _context(settings, engine, store, run_id="run-2"))
    assert len(list((settings.home / "work").glob("*"))) == 1
    again = config.model_copy(update={"max_minutes": 9.0})
    resumed = run(again, _context(settings, engine, store, run_id="run-3", progress=lambda d, _, __: done.append(d)))
    assert done == [1, 2, 3]
    assert not list((settings.home / "work").glob("*"))
    whole = run(again, _context(settings, engine, store, run_id="run-4"))
    assert whole.artifact_id == resumed.artifact_id  # the same bits, so the same content address


def test_a_stage_whose_artifact_cannot_be_published_loses_nothing_of_its_training(
    settings: Settings,
    engine: sa.Engine,
    store: ArtifactStore,
    tiny_llama: Path,
    tiny_reward: Path,
    tmp_path: Path,
    full_for_policies: pytest.MonkeyPatch,
) -> None:
    reward = _published_reward(store, tiny_reward, tmp_path)
    config = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), epochs=2, checkpoint_every=1, **FAST)
    done: list[int] = []
    context = _context(settings, engine, store, progress=lambda update, *_: done.append(update))
    with pytest.raises(StorageError, match=r"Storing the policy artifact in .* failed: No space left on device"):
        run(config, context)
    full_for_policies.undo()
    run(config, context)
    assert done == [1, 2, 2]
    assert not list((settings.home / "work").glob("*"))


def test_a_run_of_a_round_goes_on_under_its_own_run_id_alone(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = _published_reward(store, tiny_reward, tmp_path)
    config = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), epochs=2, **FAST)
    with session_scope(engine) as session:
        session.add(Round(round_id="round-1", trigger_key="k", state="running", config={}))
        session.flush()
        session.add(Run(run_id="run-1", round_id="round-1", stage="policy", config={}))
    done: list[int] = []
    context = _context(
        settings, engine, store, progress=lambda d, _, __: done.append(d), is_canceled=lambda: len(done) == 1
    )
    with pytest.raises(RunCanceled):
        run(config, context)
    assert [path.name for path in (settings.home / "work").iterdir()] == ["policy-run-1"]
    by_hand: list[int] = []
    run(config, _context(settings, engine, store, run_id=None, progress=lambda d, _, __: by_hand.append(d)))
    assert by_hand == [1, 2]
    run(config, _context(settings, engine, store, progress=lambda d, _, __: done.append(d)))
    assert done == [1, 2]
    assert not list((settings.home / "work").iterdir())


def test_the_same_training_twice_at_once_is_refused(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    config = PolicyConfig(reward_model=_published_reward(store, tiny_reward, tmp_path), base_model=str(tiny_llama))
    context = _context(settings, engine, store)
    reward = store.path(config.reward_model)
    with (
        work_folder(config, context, base=tiny_llama, reward=reward),
        pytest.raises(ConflictError, match="this very training"),
    ):
        run(config, context)
    assert not list((settings.home / "work").iterdir())


def test_a_warm_start_takes_the_datasets_chosen_answers_and_reports_apart(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = _published_reward(store, tiny_reward, tmp_path)
    config = PolicyConfig(reward_model=reward, base_model=str(tiny_llama), warm_start_epochs=2, **FAST)
    metrics = run(config, _context(settings, engine, store)).metrics
    assert metrics["warm_start/loss_after"] < metrics["warm_start/loss_before"]
    assert metrics["warm_start/examples"] == 11


def test_no_roll_outs_publish_what_the_warm_start_leaves(
    settings: Settings, engine: sa.Engine, store: ArtifactStore, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    reward = _published_reward(store, tiny_reward, tmp_path)
    fields = {**FAST, "reward_model": reward, "base_model": str(tiny_llama), "max_updates": 0}
    with pytest.raises(ValueError, match="max_updates 0 trains nothing without warm_start_epochs"):
        PolicyConfig(**fields)
    result = run(PolicyConfig(**fields, warm_start_epochs=2), _context(settings, engine, store))
    assert result.metrics["updates"] == 0
    assert "warm start alone" in result.summary
    trained = AutoModelForCausalLM.from_pretrained(store.path(result.artifact_id)).state_dict()
    before = AutoModelForCausalLM.from_pretrained(tiny_llama).state_dict()
    assert any((value != before[name]).any() for name, value in trained.items())


def test_a_warm_start_without_chosen_answers_says_so(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warm_start_file"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "o"), warm_start_epochs=1, **FAST)


def _command(words: list[str], *, script: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["app/rlhf/train_ppo.py"] if script else ["-m", "app.rlhf.train_ppo"]
    return subprocess.run([sys.executable, *start, *words], cwd=BACKEND, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(("script", "flag"), [(False, "--base-model"), (True, "--base_model")])
def test_the_seed_documents_command_trains_in_both_spellings(
    script: bool, flag: str, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = flag.replace("base", "reward")
    out = tmp_path / "out_model"
    words = [flag, str(tiny_llama), reward, str(tiny_reward), "--output", str(out), "--epochs", "1"]
    more = ["--train-layers", "1", "--max_new_tokens", "4", "--precision", "float32", "--ppo-epochs", "1"]
    done = _command(words + more, script=script)
    assert done.returncode == 0, done.stderr
    assert "PPO took 1 roll-out (" in done.stdout
    assert (out / "model.safetensors").is_file()


def test_the_command_tells_an_error_in_one_sentence(tmp_path: Path) -> None:
    done = _command(["--reward-model", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
