"""Weights in shards over two processes learn what whole ones learn, and come out whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from preceptor.errors import ConfigError
from preceptor.modeling.policy_model import load_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.metrics import read_metrics
from preceptor.policy.run import train_with_ppo

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# 5 mini-batches an optimizer pass in steps of 2, and 3 held-out prompts: the second process has less to do
LOOP = """
import sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.checkpoint import RunState, load_checkpoint, save_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.processes import join_processes, leave
from preceptor.policy.rollout import Prompt
from preceptor.policy.shards import gather

folder, out, accumulation, sharding = sys.argv[1:]
processes = join_processes()
config = PolicyConfig(
    reward_model="none", mode="full", precision="float32", batch_size=10, mini_batch_size=2, sharding=sharding,
    gradient_accumulation_steps=int(accumulation), ppo_epochs=2, epochs=100, max_updates=2, max_new_tokens=6,
    learning_rate=1e-3, init_kl_coef=0.01, target_kl=10.0, gradient_checkpointing=True,
)

def fresh():
    networks = make_networks(load_policy(folder)[0], config, processes=processes)
    return networks, make_optimizer(networks, config)

tokenizer = load_policy(folder)[1]
networks, optimizer = fresh()
networks.refresh_reference()
prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in (f"Question {10 ** i}" for i in range(8))]
state = train(
    networks, optimizer, RunState(kl_coef=0.01), tokenizer, prompts,
    lambda asked, texts: np.array([text.count("e") / max(1, len(text)) for text in texts]), config,
    eos=eos_ids(*load_policy(folder)), folder=Path(out) / str(processes.rank), settings={},
    progress=lambda *_: None, is_canceled=lambda: False, held_out=prompts[:3], processes=processes,
)
save_checkpoint(Path(out) / str(processes.rank), state, networks, optimizer, settings={})
processes.any(False)
again, moments = fresh()
assert load_checkpoint(Path(out) / "0", again, moments, settings={}) == state
ended, loaded = [gather([*each.policy_parameters(), *each.value_parameters()]) for each in (networks, again)]
assert ended.keys() == loaded.keys() and all(torch.equal(ended[name], loaded[name]) for name in ended)
assert bool(ended) == processes.first
assert len(moments.state) == len(optimizer.state)
if sharding == "fsdp":
    held = sum(p.to_local().numel() for _, p in networks.policy_parameters())
    whole = sum(p.numel() for _, p in networks.policy_parameters())
    assert held < 0.6 * whole, (held, whole)
leave(0)
"""

STAGE = """
import sys, torch
torch.set_num_threads(1)
from preceptor.policy.run import train_with_ppo
base, reward, out = sys.argv[1:]
train_with_ppo(
    base, reward, out, mode="full", sharding="fsdp", precision="bfloat16", batch_size=6, mini_batch_size=3,
    max_updates=2, epochs=9, max_new_tokens=4, held_out_prompts=2, evaluate_every=1, learning_rate=1e-3,
)
"""


def _run(launcher: list[str], code: str, script: Path, *arguments: str) -> None:
    script.write_text(code)
    done = subprocess.run(
        [*launcher, str(script), *arguments], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_shards_on_two_processes_give_the_trajectory_of_whole_weights_on_one(tiny_llama: Path, tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    _run(TORCHRUN, LOOP, tmp_path / "two.py", str(tiny_llama), str(two), "1", "fsdp")
    _run([sys.executable], LOOP, tmp_path / "one.py", str(tiny_llama), str(one), "2", "none")
    alone, together = (read_metrics(each / "0" / "metrics.jsonl") for each in (one, two))
    assert alone[0]["policy/steps"] == 6  # 5 mini-batches, 2 a step, twice
    for here, there in zip(alone, together, strict=True):
        for name in here.keys() - {"eps"}:
            assert there[name] == pytest.approx(here[name], rel=1e-3, abs=1e-5), name
    whole, gathered = (load_file(each / "0" / "checkpoint-000002" / "weights.safetensors") for each in (one, two))
    assert whole.keys() == gathered.keys()
    for name, weight in whole.items():
        assert torch.allclose(gathered[name], weight, atol=1e-4), name


def test_a_sharded_run_publishes_a_whole_policy_that_plain_transformers_loads(
    tiny_gpt2: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    out = tmp_path / "policy"
    _run(TORCHRUN, STAGE, tmp_path / "stage.py", str(tiny_gpt2), str(tiny_reward), str(out))
    model, _ = load_policy(out)
    base, _ = load_policy(tiny_gpt2)
    assert {name: p.shape for name, p in model.named_parameters()} == {
        name: p.shape for name, p in base.named_parameters()
    }
    assert not list(tmp_path.rglob("*.bin"))
    assert not list(tmp_path.rglob("*.pt"))
    assert not (tmp_path / "policy.training").exists()


def test_sharding_is_for_full_mode_and_several_processes(tiny_llama: Path, tiny_reward: Path, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="mode full"):
        PolicyConfig(reward_model="none", mode="hydra", sharding="fsdp")
    with pytest.raises(ConfigError, match="start several with torchrun"):
        train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "out"), mode="full", sharding="fsdp")
