"""TRL's environment in; CPU seconds a PPO update, peak memory and share of the matrix-product peak, beside TRL's, out.

`python benchmarks/ppo_speed.py --peer-python TRL_ENV/bin/python --size small`. The peer needs `trl==1.12.0`, the last
with PPO. Both sides train the same randomly drawn GPT-2 with the same reward model on the same prompts: 16 answers of
48 tokens an update, mini-batches of 4, 4 passes, so 16 optimizer steps. Each measurement is a process of its own on
one thread; sides take turns, the first update of each process is not counted, and the clock is CPU seconds, which other
work on the machine does not lengthen as it does wall time. Random weights say nothing about learning.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(__file__).parent / "peers"
PRECISION = {"float32": "no", "bfloat16": "bf16"}  # accelerate's words


def ours(mode: str, *, size: str, updates: int, response: int, precision: str, layers: int) -> dict[str, Any]:
    """Train `updates` updates in this process and return what was measured."""
    sys.path.insert(0, str(PEERS))
    import ppo_models
    import torch

    from preceptor.modeling.freed_memory import keep_freed_memory
    from preceptor.policy import ppo
    from preceptor.policy.checkpoint import RunState
    from preceptor.policy.config import PolicyConfig
    from preceptor.policy.layouts import make_networks
    from preceptor.policy.optimize import make_optimizer
    from preceptor.policy.rollout import Prompt

    torch.set_num_threads(1)
    keep_freed_memory()
    config = PolicyConfig(
        reward_model="in memory",
        mode=mode,
        train_layers=layers,
        precision=precision,
        learning_rate=3e-6,
        batch_size=16,
        mini_batch_size=4,
        ppo_epochs=4,
        early_stopping=False,  # the peer has none: as many optimizer steps on both sides
        max_new_tokens=response,
        max_updates=updates,
        max_minutes=600,
        checkpoint_every=10_000,
    )
    tokenizer, reward = ppo_models.tokenizer(size, side="left"), ppo_models.scorer(size, 1).eval()
    autocast: dict[str, Any] = {"dtype": torch.bfloat16, "enabled": precision == "bfloat16"}

    @torch.no_grad()
    def score(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        texts = [f"{prompt} {response}" for prompt, response in zip(prompts, responses, strict=True)]
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.autocast("cpu", **autocast):
            scores: torch.Tensor = reward(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        return scores.float().numpy()

    rows = ppo_models.prompts(size, 16 * updates)
    prompts = [Prompt(tokenizer.decode(ids), ids) for ids in rows]
    networks = make_networks(ppo_models.policy(size).eval(), config)
    optimizer = make_optimizer(networks, config)
    seconds: list[float] = []
    steps: list[float] = []
    optimizing = _Watch()
    plain, ppo.optimize = ppo.optimize, optimizing.wrap(ppo.optimize)
    began = time.process_time()

    def progress(_: int, __: int, record: dict[str, Any]) -> None:
        nonlocal began
        now = time.process_time()
        seconds.append(now - began)
        steps.append(record["policy/steps"])
        began = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        ppo.train(
            networks,
            optimizer,
            RunState(kl_coef=config.init_kl_coef),
            tokenizer,
            prompts,
            score,
            config,
            eos=[ppo_models.EOS],
            folder=Path(folder),
            settings={},
            progress=progress,
            is_canceled=lambda: False,
        )
    ppo.optimize = plain
    return {
        "seconds": seconds,
        "steps": steps,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "optimize_seconds": optimizing.seconds[1:-1] or optimizing.seconds,
        "optimize_gflop": optimizing.gflop,
        "peak_gflops": _matrix_peak(precision),
        "precision": precision,
    }


class _Watch:
    """CPU seconds of every call of a function, and the floating-point operations of the last, counted."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.gflop = 0.0

    def wrap(self, function: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            from torch.utils.flop_counter import FlopCounterMode

            began = time.process_time()
            if len(self.seconds) == 0:  # the first update is not timed, so counting it costs nothing
                with FlopCounterMode(display=False, custom_mapping=_onednn()) as counter:
                    result = function(*args, **kwargs)
                self.gflop = counter.get_total_flops() / 1e9
            else:
                result = function(*args, **kwargs)
            self.seconds.append(time.process_time() - began)
            return result

        return watched


def _onednn() -> dict[Any, Any]:
    """How to count the layers that preceptor runs by oneDNN, which torch's counter does not know."""
    import torch

    def product(rows: Any, weight: Any, *_: Any, **__: Any) -> int:
        return 2 * int(np.prod(rows)) * int(weight[0])

    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return {torch.ops.mkldnn._linear_pointwise: product} if known else {}


def _matrix_peak(precision: str) -> float:
    """GFLOP a CPU second of one large matrix product by the fastest kernel, the best of several."""
    import torch

    from preceptor.modeling.products import product

    left = torch.randn(1024, 1024).to(getattr(torch, precision))
    right = torch.randn(3072, 1024).to(getattr(torch, precision))
    best = 0.0
    for _ in range(20):
        began = time.process_time()
        product(left, right)
        best = max(best, 2 * 1024 * 1024 * 3072 / 1e9 / (time.process_time() - began))
    return best


def measure(side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one side in a process of its own."""
    shared = ["--size", arguments.size, "--updates", str(arguments.updates), "--response", str(arguments.response)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if side == "trl":
        command = [arguments.peer_python, str(PEERS / "ppo_trl.py"), *shared]
        environment |= {"ACCELERATE_MIXED_PRECISION": PRECISION[arguments.precision], "PYTHONWARNINGS": "ignore"}
        environment |= {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    else:
        mode, _, layers = side.partition(" ")
        command = [sys.executable, __file__, *shared, "--side", mode, "--precision", arguments.precision]
        command += ["--layers", layers or "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return found
    sys.exit(f"The side {side} failed:\n{done.stderr[-2000:]}")


def main() -> None:
    """Measure in turns and print a row a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl==1.12.0; without it, only ours.")
    parser.add_argument("--size", choices=("tiny", "small"), default="tiny", help="Size of the models.")
    parser.add_argument("--updates", type=int, default=3, help="Updates of each process; the first is not counted.")
    parser.add_argument("--rounds", type=int, default=1, help="Processes of each side.")
    parser.add_argument("--response", type=int, default=48, help="Tokens of an answer.")
    parser.add_argument("--precision", choices=tuple(PRECISION), default="float32")
    parser.add_argument(
        "--layers", type=int, nargs="+", help="Top layers trained, a `hydra` side each (default: a quarter and half)."
    )
    parser.add_argument("--side", choices=("full", "hydra"), help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", help='Measure these sides only, like "full" or "hydra 3".')
    arguments = parser.parse_args()
    if arguments.side:
        shape = {"size": arguments.size, "updates": arguments.updates, "response": arguments.response}
        found = ours(arguments.side, **shape, precision=arguments.precision, layers=arguments.layers[0])
        print("RESULT " + json.dumps(found))
        return
    depth = {"tiny": 4, "small": 12}[arguments.size]
    layers = arguments.layers or [depth // 4, depth // 2]
    sides = (["trl"] if arguments.peer_python else []) + ["full"] + [f"hydra {count}" for count in layers]
    sides = [side for side in sides if not arguments.only or side in arguments.only]
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(arguments.rounds):
        for side in sides:
            measured[side].append(measure(side, arguments))
    _print(measured, arguments)


def _print(found: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    print(f"PPO, GPT-2 {arguments.size}, {arguments.precision}, {arguments.response} tokens an answer, one thread")
    print("side    CPU s an update (median; all)            steps  peak MB  time TRL/side  memory side/TRL")
    seconds = {side: [s for one in runs for s in one["seconds"][1:]] for side, runs in found.items()}
    for side, runs in found.items():
        median, peak = statistics.median(seconds[side]), max(one["peak_mb"] for one in runs)
        every = ", ".join(f"{s:.1f}" for s in seconds[side])
        ratio = memory = "-"
        if "trl" in found:
            ratio = f"{statistics.median(seconds['trl']) / median:.2f}"
            memory = f"{peak / max(one['peak_mb'] for one in found['trl']):.2f}"
        shown = f"{median:8.2f} ({every})"
        print(f"{side:7} {shown:40} {runs[0]['steps'][-1]:5.0f} {peak:8.0f} {ratio:>14} {memory:>16}")
    for side, runs in found.items():
        if side != "trl":
            spent = statistics.median(s for one in runs for s in one["optimize_seconds"])
            rate, peak = runs[0]["optimize_gflop"] / spent, max(one["peak_gflops"] for one in runs)
            share = f"{rate:.0f} of {peak:.0f} GFLOP a second, {rate / peak:.0%} of one large matrix product"
            print(f"{side}: the optimizer passes took {spent:.2f} CPU s: {share}")


if __name__ == "__main__":
    main()
