"""PPO in a process of its own, killed by the kernel at its worst moments, goes on to the bits of an unbroken run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from preceptor.policy.config import PolicyConfig
from preceptor.policy.metrics import read_metrics, without_clock
from preceptor.policy.work import held

MOMENTS = ["in the weights", "before the rename", "in a roll-out"]
# what dies is a fork of one process, so that torch is imported once
SCRIPT = """
import importlib.util, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from preceptor.policy import checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.work import held

fixtures, model, config, out = sys.argv[1:5]
spec = importlib.util.spec_from_file_location("fixtures", fixtures)
spec.loader.exec_module(tests := importlib.util.module_from_spec(spec))


def second_time(real, last):
    calls = 0

    def counted(*given):
        nonlocal calls
        calls += 1
        return last(*given) if calls == 2 else real(*given)

    return counted


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(tensors, path):
    save(tensors, path)
    os.truncate(path, path.stat().st_size // 2)
    die()


def train(moment):
    score = tests.count_letter
    if moment == "in a roll-out":
        score = second_time(score, die)
    if moment == "in the weights":
        checkpoint.save_file = second_time(save, half_written)
    if moment == "before the rename":
        Path.rename = second_time(rename, die)
    with held(Path(out)) as folder:
        tests._run(Path(model), PolicyConfig.model_validate_json(config), score, folder)


save, rename = checkpoint.save_file, Path.rename
for moment in sys.argv[5:]:
    child = os.fork()
    if not child:
        train(moment)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, *sorted(name[:18] for name in os.listdir(out) if "checkpoint" in name), flush=True)
"""


def test_a_run_that_is_killed_again_and_again_ends_with_the_weights_of_an_unbroken_one(
    small_config: Callable[..., PolicyConfig],
    letter_score: Callable[..., Any],
    ppo_run: Callable[..., Any],
    tiny_llama: Path,
    tmp_path: Path,
) -> None:
    config = small_config(epochs=10, max_updates=5, checkpoint_every=1)
    script, killed = tmp_path / "killed.py", tmp_path / "killed"
    script.write_text(SCRIPT)
    fixtures = Path(__file__).with_name("conftest.py")
    told = subprocess.run(
        [sys.executable, script, fixtures, tiny_llama, config.model_dump_json(), killed, *MOMENTS],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.splitlines() == [
        "-9 .checkpoint-000002 checkpoint-000001",
        "-9 .checkpoint-000003 checkpoint-000002",
        "-9 checkpoint-000003",
    ]
    whole, _ = ppo_run(tiny_llama, config, letter_score, tmp_path / "whole")
    with held(killed):
        resumed, state = ppo_run(tiny_llama, config, letter_score, killed)
    assert state.update == 5
    assert sorted(path.name for path in killed.iterdir()) == ["checkpoint-000004", "in-use", "metrics.jsonl"]
    rows = [without_clock(read_metrics(folder / "metrics.jsonl")) for folder in (killed, tmp_path / "whole")]
    assert rows[0] == rows[1]
    for of in ("policy_parameters", "value_parameters"):
        pairs = zip(getattr(whole, of)(), getattr(resumed, of)(), strict=True)
        assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)
