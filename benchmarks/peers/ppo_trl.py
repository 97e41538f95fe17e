"""A size and a number of updates in; seconds an update of TRL's last PPOTrainer and its peak memory out, as JSON.

Runs in an environment of its own with `trl==1.12.0`, the last with PPO. Gradient checkpointing is off, as TRL's own
switch leaves it (docs/decisions/own-ppo.md), and so is everything that writes or logs. `seconds` are those of the
CPU; with `--wall` the numbers of `step_clock.py` come beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time

import ppo_models
import torch
from datasets import Dataset
from step_clock import StepClock
from transformers import TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer


class Clock(TrainerCallback):
    """CPU seconds and optimizer steps of every update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.steps: list[int] = []
        self.began, self.count = 0.0, 0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.began = time.process_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        now = time.process_time()
        self.seconds.append(now - self.began)
        self.steps.append(self.count)
        self.began, self.count = now, 0


class Wall(TrainerCallback):
    """Tells a clock of each update."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, *_: object, **__: object) -> None:
        self.clock.rolled_out()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small")
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--response", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--mini", type=int, default=4)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--wall", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size, batch, mini = arguments.size, arguments.batch, arguments.mini
    wall = StepClock(arguments.device)
    rows = [{"input_ids": ids} for ids in ppo_models.prompts(size, batch * arguments.updates)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        settings = PPOConfig(
            output_dir=out,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=1,
            num_mini_batches=batch // mini,
            num_ppo_epochs=arguments.passes,
            response_length=arguments.response,
            total_episodes=batch * arguments.updates,
            learning_rate=3e-6,
            temperature=1.0,
            num_sample_generations=0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=arguments.device == "cpu",
            bf16=os.environ.get("ACCELERATE_MIXED_PRECISION") == "bf16",
        )
        trainer = PPOTrainer(
            args=settings,
            processing_class=ppo_models.tokenizer(size, side="left"),
            model=ppo_models.policy(size),
            ref_model=ppo_models.policy(size),
            reward_model=ppo_models.scorer(size, 1),
            value_model=ppo_models.scorer(size, 2),
            train_dataset=Dataset.from_list(rows),
            callbacks=[clock],
        )
        inner = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        inner.register_step_post_hook(lambda *_: setattr(clock, "count", clock.count + 1))
        if arguments.wall:
            inner.register_step_post_hook(wall.stepped)
            trainer.add_callback(Wall(wall))
        trainer.log = lambda *_: None
        trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {
        "seconds": clock.seconds,
        "steps": clock.steps,
        "peak_mb": peak,
        "precision": trainer.accelerator.mixed_precision,
        "wall": wall.found() if arguments.wall else None,
    }
    print("RESULT " + json.dumps(found))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
