"""Nothing in; answer tokens a second, share of the measured matrix-product peak and peak memory of PPO on a GPU out.

`python benchmarks/gpu.py --size small --peer-python TRL_ENV/bin/python`. Ours, hydra and full, in bfloat16; PPO of TRL
1.12 where that environment is named; and GRPO of TRL 1.16 where it is installed: all on the same randomly drawn GPT-2,
reward model and prompts as `ppo_speed.py`, by the clock of the wall after the first update. GRPO has no critic and no
values: its figure says what a user of TRL gets, not what PPO costs there. `--device cpu` runs the same code where there
is no GPU; its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import require_gpu

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
BATCH, MINI, PASSES = 64, 16, 2
Found = dict[str, float]


def matrix_peak(device: str) -> float:
    """TFLOP a second of one large product in bfloat16, the best of several."""
    width = 8192 if device == "cuda" else 512
    left, right = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(20):
        best = max(best, 2 * width**3 / 1e12 / _seconds(lambda: left @ right, device))
    return best


def _seconds(call: Callable[[], Any], device: str) -> float:
    began = _now(device)
    call()
    return _now(device) - began


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _score(size: str, device: str) -> Callable[..., np.ndarray[Any, Any]]:
    import ppo_models

    tokenizer, reward = ppo_models.tokenizer(size, side="left"), ppo_models.scorer(size, 1).eval().to(device)

    @torch.no_grad()
    def score(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        texts = [f"{prompt} {response}" for prompt, response in zip(prompts, responses, strict=True)]
        batch = tokenizer(texts, return_tensors="pt", padding=True).to(device)
        with torch.autocast(device, torch.bfloat16):
            found: torch.Tensor = reward(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        return found.float().cpu().numpy()

    return score


def ours(mode: str, size: str, updates: int, response: int, device: str) -> Found:
    """What the clock found of preceptor's PPO."""
    import ppo_models
    from step_clock import StepClock

    from preceptor.policy import ppo
    from preceptor.policy.checkpoint import RunState
    from preceptor.policy.config import PolicyConfig
    from preceptor.policy.layouts import make_networks
    from preceptor.policy.optimize import make_optimizer
    from preceptor.policy.rollout import Prompt

    config = PolicyConfig(
        reward_model="in memory",
        mode=mode,  # type: ignore[arg-type]
        train_layers=ppo_models.SIZES[size]["n_layer"] // 4,
        batch_size=BATCH,
        mini_batch_size=MINI,
        ppo_epochs=PASSES,
        early_stopping=False,
        learning_rate=3e-6,
        max_new_tokens=response,
        max_updates=updates,
        epochs=updates,
        checkpoint_every=10_000,
        device=device,  # type: ignore[arg-type]
    )
    tokenizer = ppo_models.tokenizer(size, side="left")
    prompts = [Prompt(tokenizer.decode(ids), ids) for ids in ppo_models.prompts(size, BATCH)]
    networks, clock = make_networks(ppo_models.policy(size).eval().to(device), config), StepClock(device)
    optimizer = make_optimizer(networks, config)
    optimizer.register_step_post_hook(clock.stepped)
    with tempfile.TemporaryDirectory() as folder:
        ppo.train(
            networks,
            optimizer,
            RunState(kl_coef=config.init_kl_coef),
            tokenizer,
            prompts,
            _score(size, device),
            config,
            eos=[ppo_models.EOS],
            folder=Path(folder),
            settings={},
            progress=clock.rolled_out,
            is_canceled=lambda: False,
        )
    return clock.found()


def grpo(size: str, updates: int, response: int, device: str) -> Found | None:
    """What the clock found of TRL's GRPO with 4 answers a prompt; None where TRL is not installed."""
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError:
        return None
    import ppo_models
    from datasets import Dataset
    from step_clock import StepClock
    from transformers import TrainerCallback

    tokenizer, score, clock = ppo_models.tokenizer(size, side="left"), _score(size, device), StepClock(device)

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        clock.rolled_out()
        return [float(number) for number in score(prompts, completions)]

    class Hook(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, optimizer: Any, **__: Any) -> None:
            getattr(optimizer, "optimizer", optimizer).register_step_post_hook(clock.stepped)

    with tempfile.TemporaryDirectory() as folder:
        ppo_models.policy(size).save_pretrained(folder)
        settings = GRPOConfig(
            output_dir=folder,
            bf16=True,
            use_cpu=device == "cpu",
            per_device_train_batch_size=MINI,
            gradient_accumulation_steps=1,
            generation_batch_size=BATCH,
            num_generations=4,
            num_iterations=PASSES,
            max_completion_length=response,
            beta=0.05,
            learning_rate=3e-6,
            max_steps=updates * PASSES * BATCH // MINI,
            gradient_checkpointing=False,  # as on the other sides
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        settings._n_gpu = min(settings.n_gpu, 1)  # TRL refuses a machine with several
        rows = Dataset.from_list([{"prompt": tokenizer.decode(ids)} for ids in ppo_models.prompts(size, BATCH)])
        GRPOTrainer(
            model=folder,
            args=settings,
            reward_funcs=reward,
            train_dataset=rows,
            processing_class=tokenizer,
            callbacks=[Hook()],
        ).train()
    return clock.found()


def trl_ppo(python: str, size: str, updates: int, response: int, device: str) -> Found:
    """What the clock found of the last PPO of TRL, in a process of its own environment."""
    shape = {"size": size, "updates": updates, "response": response, "device": device}
    shape |= {"batch": BATCH, "mini": MINI, "passes": PASSES}
    words = [word for name, value in shape.items() for word in (f"--{name}", str(value))]
    quiet = {"TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment = os.environ | {"ACCELERATE_MIXED_PRECISION": "bf16"} | quiet
    command = [python, str(PEERS / "ppo_trl.py"), *words, "--wall"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: Found = json.loads(line.removeprefix("RESULT "))["wall"]
            return found
    sys.exit(f"PPO of TRL failed:\n{done.stderr[-2000:]}")


def main() -> None:
    """Measure each side in turn and print a row a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl==1.12.0; without it, no PPO of TRL.")
    parser.add_argument("--size", choices=("tiny", "small"), default="small", help="Size of the models.")
    parser.add_argument(
        "--updates", type=int, default=6, help="Updates of each side, at least 2; the first is not timed."
    )
    parser.add_argument("--response", type=int, default=128, help="Tokens of an answer.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cuda":
        require_gpu()
    peak = matrix_peak(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}: {peak:.2f} TFLOP a second in one large product, bfloat16")
    print("side      s an update  answer tokens/s  optimizer TFLOP/s  share of peak  peak GB")
    shape = (arguments.size, arguments.updates, arguments.response, device)
    sides: dict[str, Callable[[], Found | None]] = {
        "hydra": lambda: ours("hydra", *shape),
        "full": lambda: ours("full", *shape),
    }
    if arguments.peer_python:
        sides["trl 1.12"] = lambda: trl_ppo(arguments.peer_python, *shape)
    for side, run in (sides | {"grpo": lambda: grpo(*shape)}).items():
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found = run()
        print(_row(side, found, arguments.response, peak) if found else f"{side}: TRL is not installed", flush=True)


def _row(side: str, found: Found, response: int, peak: float) -> str:
    tokens, rate = BATCH * response / found["seconds"], found["tflops"]
    memory = f"{found['peak_gb']:8.1f}" if found["peak_gb"] else f"{'-':>8}"
    return f"{side:9} {found['seconds']:11.2f} {tokens:16.0f} {rate:18.2f} {rate / peak:14.0%} {memory}"


if __name__ == "__main__":
    main()
