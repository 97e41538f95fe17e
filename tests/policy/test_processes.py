"""Two processes of torchrun learn what one process learns from twice the accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from preceptor.policy.metrics import read_metrics
from preceptor.policy.processes import Processes

SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.sequences import encode_prompt
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.layouts import make_networks
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import train
from preceptor.policy.processes import join_processes, leave
from preceptor.policy.rollout import Prompt

folder, out, mode, accumulation = sys.argv[1:]
processes = join_processes()
config = PolicyConfig(
    reward_model="none", mode=mode, precision="float32", train_layers=2, batch_size=8, mini_batch_size=2,
    gradient_accumulation_steps=int(accumulation), ppo_epochs=2, epochs=100, max_updates=3, max_new_tokens=6,
    learning_rate=1e-3, init_kl_coef=0.01, target_kl=10.0,
)
model, tokenizer = load_policy(folder)
networks = make_networks(model, config)
prompts = [Prompt(text, encode_prompt(tokenizer, text)[0]) for text in (f"Question {10 ** i}" for i in range(8))]
train(
    networks, make_optimizer(networks, config), RunState(kl_coef=0.01), tokenizer, prompts,
    lambda asked, texts: np.array([text.count("e") / max(1, len(text)) for text in texts]), config,
    eos=eos_ids(model, tokenizer), folder=Path(out) / str(processes.rank), settings={},
    progress=lambda *_: None, is_canceled=lambda: False, held_out=prompts[:3], processes=processes,
)
leave(0)
"""


def _trained(launcher: list[str], out: Path, *arguments: str) -> list[dict[str, float]]:
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    done = subprocess.run(
        [*launcher, str(script), arguments[0], str(out), *arguments[1:]],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return read_metrics(out / "0" / "metrics.jsonl")


@pytest.mark.parametrize("mode", ["hydra", "full"])
def test_two_processes_give_the_trajectory_of_twice_the_accumulation(
    mode: str, tiny_llama: Path, tmp_path: Path
) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = _trained(torchrun, tmp_path / "two", str(tiny_llama), mode, "1")
    one = _trained([sys.executable], tmp_path / "one", str(tiny_llama), mode, "2")
    assert len(one) == len(two) == 3
    assert one[0]["policy/steps"] == 4  # 8 answers, 4 a step, twice
    for alone, together in zip(one, two, strict=True):
        for name in alone.keys() - {"eps"}:
            assert together[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-5), name
    weights = [next((tmp_path / "two" / str(rank)).glob("best-*")) / "weights.safetensors" for rank in range(2)]
    assert weights[0].read_bytes() == weights[1].read_bytes()  # no process drifts from the others


def test_shares_cover_everything_once() -> None:
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items


def test_alone_nothing_is_exchanged() -> None:
    tensor = torch.tensor([1.0, 2.0])
    alone = Processes()
    alone.add([tensor])
    alone.copy_from_first([tensor])
    assert tensor.tolist() == [1.0, 2.0]
    assert alone.agreed(0.25) == 0.25
    assert alone.any(True)
    assert not alone.any(False)
