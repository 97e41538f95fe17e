"""The pairs of a planted rule go in; the gold reward of `hydra` and of `full` PPO at equal KL, seed by seed, comes out.

Run from the repository: `python benchmarks/hydra_or_full.py`; the reward model is that of `planted_preference.py`.
Both modes start from the base with the same reward model, the same prompts and the same number of roll-outs, and are
looked at on held-out cases every few roll-outs. The folder `--work` keeps the answers of each finished run, so that an
interrupted benchmark goes on and two processes can share the seeds. Gold is the planted rule itself, without noise,
which neither mode is trained on. Gold at a KL is interpolated between the looks on either side of it. The interval
(95 %, Student) is of the difference of the two modes over seeds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _needs import home_folder
from planted_preference import SETTINGS, follows, prepare
from policy_proof import train

from preceptor.demo.cases import load_cases
from preceptor.modeling.resolve import resolve_model
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import ANSWERS_FILE
from preceptor.stats.intervals import student_mean

# a full roll-out costs about four times a hydra one, so that roll-outs are half the size of the planted preference's
SHARED: dict[str, Any] = SETTINGS | {"batch_size": 32, "answers_per_prompt": 4, "held_out_prompts": 48}
# rates at which both move about as far in a roll-out
MODES: dict[str, dict[str, Any]] = {
    "hydra": {"mode": "hydra", "learning_rate": 1e-4},
    "full": {"mode": "full", "learning_rate": 3e-5},
}
Look = tuple[float, float]  # nats an answer from the base, share that follows the rule


def curve(file: Path) -> list[Look]:
    """The looks of a run in order, from the held-out answers that it kept."""
    looks: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        looks[row["update"]].append(row)
    return [
        (float(np.mean([row["kl"] for row in rows])), float(np.mean([follows(row["response"]) for row in rows])))
        for _, rows in sorted(looks.items())
    ]


def gold_at(looks: Sequence[Look], kl: float) -> float | None:
    """Gold where the curve first reaches `kl`, between the looks before and after; None where it never does."""
    for (near, before), (far, after) in pairwise(looks):
        if near < kl <= far:
            return before + (after - before) * (kl - near) / (far - near)
    return None


def main() -> None:
    """Print the curve of each run, then gold at each KL and the difference of the modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=home_folder() / "planted", help="folder for pairs and reward model"
    )
    parser.add_argument("--home", type=Path, default=home_folder(), help="home folder with converted models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--updates", type=int, default=4, help="roll-outs of each run")
    parser.add_argument("--every", type=int, default=2, help="roll-outs between two looks")
    parser.add_argument("--nats", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = resolve_model("gpt2", models_dir=arguments.home / "models")
    reward = prepare(base, arguments.work)
    asked = [{"prompt": case.prompt} for case in load_cases()]
    asked += [{"prompt": case.prompt, "split": "validation"} for case in load_cases(heldout=True)]
    prompts = arguments.work / "prompts_and_held_out.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    found: dict[tuple[str, float], list[float | None]] = defaultdict(list)
    for seed in arguments.seeds:
        for mode, own in MODES.items():
            fields = SHARED | own | {"seed": seed, "max_updates": arguments.updates, "evaluate_every": arguments.every}
            files = {"reward_model": str(reward), "prompts_file": prompts, "checkpoint_every": 1000}
            config = PolicyConfig(**fields | files)
            out, began = arguments.work / f"{mode}-{seed}", time.process_time()
            kept = out.with_name(f"{out.name}-{arguments.updates}-{arguments.every}.jsonl")
            if not kept.exists():
                shutil.rmtree(out, ignore_errors=True)
                train(base, reward, arguments.work / "pairs.jsonl", config, out)
                (out / ANSWERS_FILE).rename(kept)
                shutil.rmtree(out)
            looks = curve(kept)
            for kl in arguments.nats:
                found[mode, kl].append(gold_at(looks, kl))
            shown = ", ".join(f"{gold:.3f} at {kl:.1f}" for kl, gold in looks)
            print(f"seed {seed}, {mode}, {time.process_time() - began:.0f} s: {shown}", flush=True)
    print("\n| KL, nats | hydra | full | hydra less full | seeds that reached it in both |")
    print("|---|---|---|---|---|")
    for kl in arguments.nats:
        both = [
            (a, b)
            for a, b in zip(found["hydra", kl], found["full", kl], strict=True)
            if a is not None and b is not None
        ]
        if both:
            hydra, full = np.transpose(both)
            gap = student_mean(hydra - full)
            means = f"{hydra.mean():.3f} | {full.mean():.3f}"
            print(f"| {kl:g} | {means} | {gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}) | {len(both)} |")


if __name__ == "__main__":
    main()
