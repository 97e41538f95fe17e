"""PPO on a device that is not the CPU: nothing is left behind on the CPU, and the same is learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preceptor.policy.metrics import read_metrics

SCRIPT = Path(__file__).parent / "second_device" / "train.py"


def _train(device: str, model: Path, mode: str, out: Path) -> Path:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), device, str(model), mode, str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.parametrize(("mode", "kind"), [("hydra", "tiny_llama"), ("full", "tiny_gpt2")])
def test_a_second_device_learns_the_same_and_refuses_nothing_that_was_left_on_the_cpu(
    mode: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = request.getfixturevalue(kind)
    cpu, twin = (_train(device, model, mode, tmp_path / device) for device in ("cpu", "twin"))
    where, operations = json.loads((twin / "where.json").read_text())
    assert where == ["twin:0"]
    assert operations > 10_000
    for here, there in zip(read_metrics(cpu / "metrics.jsonl"), read_metrics(twin / "metrics.jsonl"), strict=True):
        for name in here.keys() - {"eps"}:
            near = 0.03 if "clipfrac" in name else 1e-4  # one token may stand on the edge of the clip
            assert there[name] == pytest.approx(here[name], rel=1e-3, abs=near), name
    weights, others = load_file(cpu / "weights.safetensors"), load_file(twin / "weights.safetensors")
    for name, weight in weights.items():
        assert torch.allclose(others[name], weight, atol=1e-4), name
