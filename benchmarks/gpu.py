"""Nothing in; answer tokens a second, share of the measured matrix-product peak and peak memory of PPO on a GPU out.

`python benchmarks/gpu.py --size small`. Ours, hydra and full, in bfloat16, and GRPO of TRL 1.16 where it is installed,
on the same randomly drawn GPT-2, reward model and prompts as `ppo_speed.py`, by the clock of the wall after the first
update. GRPO has no critic and no values: its figure says what a user of TRL gets, not what PPO costs there.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import require_gpu

sys.path.insert(0, str(Path(__file__).parent / "peers"))
BATCH, PASSES = 64, 2


def matrix_peak() -> float:
    """TFLOP a second of one large product in bfloat16, the best of several."""
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(20):
        seconds = _timed(lambda: left @ right)[1]
        best = max(best, 2 * 8192**3 / 1e12 / seconds)
    return best


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    torch.cuda.synchronize()
    began = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return result, time.perf_counter() - began


def _score(size: str) -> Callable[..., np.ndarray[Any, Any]]:
    import ppo_models

    tokenizer, reward = ppo_models.tokenizer(size, side="left"), ppo_models.scorer(size, 1).eval().to("cuda")

    @torch.no_grad()
    def score(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        texts = [f"{prompt} {response}" for prompt, response in zip(prompts, responses, strict=True)]
        batch = tokenizer(texts, return_tensors="pt", padding=True).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            found: torch.Tensor = reward(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]
        return found.float().cpu().numpy()

    return score


def ours(mode: str, size: str, updates: int, response: int) -> dict[str, float]:
    """Seconds an update, and the optimizer passes' TFLOP a second."""
    import ppo_models
    from torch.utils.flop_counter import FlopCounterMode

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
        mini_batch_size=16,
        ppo_epochs=PASSES,
        early_stopping=False,
        learning_rate=3e-6,
        max_new_tokens=response,
        max_updates=updates,
        epochs=updates,
        checkpoint_every=10_000,
        device="cuda",
    )
    tokenizer = ppo_models.tokenizer(size, side="left")
    prompts = [Prompt(tokenizer.decode(ids), ids) for ids in ppo_models.prompts(size, BATCH)]
    networks = make_networks(ppo_models.policy(size).eval().to("cuda"), config)
    plain, passes, flop = ppo.optimize, [], [0.0]

    def watched(*args: Any, **kwargs: Any) -> Any:
        if not flop[0]:  # the first update is not timed, so counting it costs nothing
            with FlopCounterMode(display=False) as counter:
                result = plain(*args, **kwargs)
            flop[0] = counter.get_total_flops() / 1e12
            return result
        result, seconds = _timed(lambda: plain(*args, **kwargs))
        passes.append(seconds)
        return result

    marks: list[float] = []

    def progress(*_: Any) -> None:
        torch.cuda.synchronize()
        marks.append(time.perf_counter())

    ppo.optimize = watched  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            ppo.train(
                networks,
                make_optimizer(networks, config),
                RunState(kl_coef=config.init_kl_coef),
                tokenizer,
                prompts,
                _score(size),
                config,
                eos=[ppo_models.EOS],
                folder=Path(folder),
                settings={},
                progress=progress,
                is_canceled=lambda: False,
            )
    finally:
        ppo.optimize = plain
    return {"seconds": statistics.median(np.diff(marks)), "tflops": flop[0] / statistics.median(passes)}


def grpo(size: str, updates: int, response: int) -> dict[str, float] | None:
    """Seconds an update of TRL's GRPO with 4 answers a prompt; None where TRL is not installed."""
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError:
        return None
    import ppo_models
    from datasets import Dataset

    tokenizer, score = ppo_models.tokenizer(size, side="left"), _score(size)
    marks: list[float] = []

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        marks.append(time.perf_counter())  # once a roll-out
        return [float(number) for number in score(prompts, completions)]

    with tempfile.TemporaryDirectory() as folder:
        ppo_models.policy(size).save_pretrained(folder)
        settings = GRPOConfig(
            output_dir=folder,
            bf16=True,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=1,
            generation_batch_size=BATCH,
            num_generations=4,
            num_iterations=PASSES,
            max_completion_length=response,
            beta=0.05,
            learning_rate=3e-6,
            max_steps=updates * PASSES * BATCH // 16,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        rows = Dataset.from_list([{"prompt": tokenizer.decode(ids)} for ids in ppo_models.prompts(size, BATCH)])
        GRPOTrainer(
            model=folder, args=settings, reward_funcs=reward, train_dataset=rows, processing_class=tokenizer
        ).train()
    return {"seconds": statistics.median(np.diff(marks))}


def main() -> None:
    """Measure each side in turn and print a row a side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("tiny", "small"), default="small", help="Size of the models.")
    parser.add_argument("--updates", type=int, default=6, help="Updates of each side; the first is not counted.")
    parser.add_argument("--response", type=int, default=128, help="Tokens of an answer.")
    arguments = parser.parse_args()
    require_gpu()
    peak = matrix_peak()
    print(f"{torch.cuda.get_device_name()}: {peak:.0f} TFLOP a second in one large product, bfloat16")
    print("side   s an update  answer tokens/s  optimizer TFLOP/s  share of peak  peak GB")
    shape = (arguments.size, arguments.updates, arguments.response)
    for side, run in {"hydra": lambda: ours("hydra", *shape), "full": lambda: ours("full", *shape)}.items():
        _print(side, run, arguments.response, peak)
    _print("grpo", lambda: grpo(*shape), arguments.response, peak)


def _print(side: str, run: Callable[[], dict[str, float] | None], response: int, peak: float) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found = run()
    if found is None:
        print(f"{side}: TRL is not installed")
        return
    rate = found.get("tflops")
    shown = "-" if rate is None else f"{rate:.0f}"
    share = "-" if rate is None else f"{rate / peak:.0%}"
    memory, tokens = torch.cuda.max_memory_allocated() / 1e9, BATCH * response / found["seconds"]
    print(f"{side:6} {found['seconds']:11.2f} {tokens:16.0f} {shown:>18} {share:>14} {memory:8.1f}")


if __name__ == "__main__":
    main()
