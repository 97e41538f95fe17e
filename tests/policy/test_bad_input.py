"""What PPO may be given and cannot use: an error that says so, and a run that goes on from where it stood."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from preceptor.errors import ConflictError, DataError, InputError, RunCanceled
from preceptor.modeling.policy_model import context_length, load_policy
from preceptor.policy import build
from preceptor.policy.build import build_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.metrics import read_metrics
from preceptor.policy.optimize import make_optimizer, optimize
from preceptor.policy.rollout import Rollout, Targets
from preceptor.policy.run import train_with_ppo
from preceptor.policy.sequences import pack

Config = Callable[..., PolicyConfig]
Score = Callable[[Sequence[str], Sequence[str]], Any]
FAST: dict[str, Any] = {
    "precision": "float32",
    "train_layers": 1,
    "batch_size": 8,
    "max_new_tokens": 6,
    "ppo_epochs": 1,
}


def _build(model: Path, reward: Path, out: Path, config: PolicyConfig) -> dict[str, Any]:
    quiet: dict[str, Any] = {"progress": lambda *_: None, "is_canceled": lambda: False}
    return build_policy(str(model), reward, out, config, work_dir=out.with_name("work"), **quiet)


class _Scorer:
    """A reward model that gives what no reward model should from its `breaks`-th call on."""

    def __init__(self, good: Score, bad: Score, breaks: int) -> None:
        self.good, self.bad, self.calls, self.breaks = good, bad, 0, breaks

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Any:
        self.calls += 1
        return (self.bad if self.calls >= self.breaks else self.good)(prompts, responses)


def test_a_run_whose_reward_model_breaks_goes_on_from_its_checkpoint_to_the_same_weights(
    small_config: Config,
    letter_score: Score,
    tiny_llama: Path,
    tiny_reward: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(mode="full", epochs=10, max_updates=4, held_out_prompts=0)
    out = {name: tmp_path / name / "out" for name in ("whole", "broken")}
    for folder in out.values():
        folder.mkdir(parents=True)

    def run(name: str, *, breaks: int) -> None:
        scorer = _Scorer(letter_score, lambda _, rows: np.full(len(rows), np.nan), breaks)
        monkeypatch.setattr(build, "load_scorer", lambda *_, **__: scorer)
        _build(tiny_llama, tiny_reward, out[name], config)

    run("whole", breaks=99)
    with pytest.raises(DataError, match="not numbers"):
        run("broken", breaks=4)
    work = out["broken"].with_name("work")
    assert [path.name for path in work.glob("checkpoint-*")] == ["checkpoint-000002"]
    assert all(
        torch.isfinite(tensor).all() for tensor in load_file(work / "checkpoint-000002/weights.safetensors").values()
    )
    run("broken", breaks=99)
    weights = [load_file(folder / "model.safetensors") for folder in out.values()]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_policy_whose_log_probabilities_are_no_numbers_is_never_the_best(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    reward = Path(shutil.copytree(tiny_reward, tmp_path / "reward"))
    with (reward / "prompts.jsonl").open("a") as file:
        file.write("".join(json.dumps({"prompt": f"Kept back {i}", "split": "validation"}) + "\n" for i in range(3)))
    wild: dict[str, Any] = {**FAST, "mini_batch_size": 8, "max_updates": 1, "learning_rate": 1e30}
    with pytest.raises(DataError, match="log-probabilities that are not numbers: lower learning_rate"):
        train_with_ppo(str(tiny_llama), str(reward), str(tmp_path / "ppo"), **wild)
    assert not (tmp_path / "ppo").exists()


@pytest.mark.parametrize("of", ["policy_parameters", "value_parameters"])
def test_gradients_that_are_no_numbers_reach_no_weight(of: str, small_config: Config, tiny_llama: Path) -> None:
    config = small_config(mode="full", early_stopping=False)
    model, _ = load_policy(tiny_llama)
    networks = make_networks(model, config)
    sequences = pack([[5, 6], [7]], [[[8, 9]], [[10, 1]]])
    mask = sequences.mask
    rollout = Rollout(sequences, sequences.ids, mask, mask - 3, mask - 3, mask)
    broken = dict(getattr(networks, of)())
    next(iter(broken.values())).register_hook(lambda gradient: gradient * float("nan"))
    before = {name: weight.detach().clone() for name, weight in broken.items()}
    with pytest.raises(DataError, match="not a number"):
        optimize(networks, make_optimizer(networks, config), rollout, Targets(mask, mask, mask), config, seed=0)
    assert all(torch.equal(weight, before[name]) for name, weight in broken.items())


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_prompts_longer_than_the_context_keep_their_end_and_train(
    mode: str, small_config: Config, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_policy(tiny_llama)
    assert tokenizer.init_kwargs.get("pad_token") is None  # nor has the vocabulary a word for padding
    long = "word " * 4 * context_length(model)
    prompts = tmp_path / "long.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"{long} {i}", "split": "train"}) + "\n" for i in range(4)))
    (tmp_path / "out").mkdir()
    sizes = {"batch_size": 2, "mini_batch_size": 1, "held_out_prompts": 0, "normalize_scores": False}
    config = small_config(
        mode=mode, prompts_file=prompts, max_prompt_tokens=10**6, max_updates=1, max_new_tokens=4, **sizes
    )
    _build(tiny_llama, tiny_reward, tmp_path / "out", config)
    (row,) = read_metrics(tmp_path / "out" / "metrics.jsonl")
    assert all(np.isfinite(value) for value in row.values())
    with pytest.raises(InputError, match="fills the model's context"):
        _build(tiny_llama, tiny_reward, tmp_path / "out", small_config(max_new_tokens=context_length(model)))


def test_a_batch_of_one_answer_trains_only_with_scores_as_they_are(
    small_config: Config, letter_score: Score, ppo_run: Callable[..., Any], tiny_llama: Path, tmp_path: Path
) -> None:
    one = {"batch_size": 1, "mini_batch_size": 1, "max_updates": 2}
    with pytest.raises(ValidationError, match="batch_size 1 gives one score"):
        small_config(**one)
    assert PolicyConfig(reward_model="none", algorithm="dpo", batch_size=1, mini_batch_size=1).normalize_scores
    ppo_run(tiny_llama, small_config(**one, normalize_scores=False), letter_score, tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert len(rows) == 2
    assert all(np.isfinite(value) for row in rows for value in row.values())


@pytest.mark.parametrize("name", ["prompts_file", "warm_start_file"])
def test_a_stopped_run_does_not_go_on_with_other_contents_of_a_file(
    name: str, tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    files = {field: tmp_path / f"{field}.jsonl" for field in ("prompts_file", "warm_start_file")}

    def write(path: Path, word: str) -> None:
        rows = [{"prompt": f"{word} {i}", "chosen": f"{word}."} for i in range(12)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    for path in files.values():
        write(path, "fever")
    more: dict[str, Any] = {**files, "warm_start_epochs": 1, "epochs": 3, "max_updates": 3, **FAST}
    models = (str(tiny_llama), str(tiny_reward), str(tmp_path / "ppo"))
    with pytest.raises(RunCanceled):
        train_with_ppo(*models, is_canceled=lambda: (tmp_path / "ppo.training/checkpoint-000000").exists(), **more)
    write(files[name], "cough")
    with pytest.raises(ConflictError, match=f"a run with another content of {name}: use the same settings"):
        train_with_ppo(*models, **more)
    write(files[name], "fever")
    assert train_with_ppo(*models, **more)["updates"] == 3
