"""A start model and token ids of pairs in; the CPU seconds of TRL's RewardTrainer, as JSON, and its trained model out.

Needs `trl` 1.16. Pairs come tokenized, since TRL drops those over its length limit; nothing is logged or written while
it trains. `--sampling`, `--micro`, `--attention` and `--checkpointing` are the settings that its speed depends on.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer


class Clock(TrainerCallback):
    """CPU seconds from the first batch to the last step, all steps counted: grouping takes the longest batch first."""

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.began = time.process_time()

    def on_train_end(self, *_: object, **__: object) -> None:
        self.seconds = time.process_time() - self.began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="Folder with start/ and pairs.json.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sampling", default="group_by_length")
    parser.add_argument("--micro", type=int, default=16, help="Pairs in one forward; the rest of a batch accumulates.")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--checkpointing", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = arguments.work / "start"
    pairs = json.loads((arguments.work / "pairs.json").read_text())["train"]
    rows = [{"chosen_ids": c, "rejected_ids": r, "length": max(len(c), len(r))} for c, r in pairs]
    model = AutoModelForSequenceClassification.from_pretrained(
        start, dtype=torch.float32, attn_implementation=arguments.attention
    )
    clock, tokens = Clock(), [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        settings = RewardConfig(
            output_dir=folder,
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=arguments.micro,
            gradient_accumulation_steps=arguments.batch // arguments.micro,
            learning_rate=arguments.rate,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=None,
            seed=arguments.seed,
            train_sampling_strategy=arguments.sampling,
            remove_unused_columns=False,  # else the column that grouping reads is removed
            gradient_checkpointing=arguments.checkpointing,
            bf16=arguments.precision == "bfloat16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = RewardTrainer(
            model,
            settings,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(start),
            callbacks=[clock],
        )
        collate = trainer.data_collator

        def counted(examples: list[dict[str, Any]]) -> Any:
            batch = collate(examples)
            tokens[0] += batch["input_ids"].numel()
            tokens[1] += int(batch["attention_mask"].sum())
            return batch

        trainer.data_collator = counted
        trainer.train()
    trainer.model.save_pretrained(arguments.out)
    found = {
        "seconds": clock.seconds,
        "steps": trainer.state.global_step,
        "padding": 1 - tokens[1] / tokens[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "precision": trainer.accelerator.mixed_precision,
    }
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
