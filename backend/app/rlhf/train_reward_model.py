"""`python -m app.rlhf.train_reward_model`: preference pairs and a base model go in, a reward model folder comes out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import preceptor  # noqa: F401  (installed, or on the path already)
except ModuleNotFoundError:  # a source checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))

from preceptor.commands.seed import asked_to_stop, at_least_one, run_seed_command

if TYPE_CHECKING:
    from preceptor.modeling.reward_model import Scorer


def train_reward_model(
    base_model: str = "bert-base-uncased",
    dataset_path: str = "rlhf/data/preferences.jsonl",
    output_dir: str = "rlhf/models/reward_model",
    **config: Any,
) -> Scorer:
    """Train a reward model, write it to `output_dir` and return it; `config` takes any field of RewardConfig."""
    from preceptor.reward.run import train_reward_model as train

    return train(base_model, dataset_path, output_dir, **config)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train. Returns 0, 1 for an error told in one sentence, 130 when stopped."""
    return run_seed_command(_parser(), _train, arguments)


def _train(given: argparse.Namespace) -> str:
    from preceptor.reward.run import summary
    from preceptor.settings import load_settings
    from preceptor.terminal import terminal_progress

    models_dir = load_settings().models_dir
    with asked_to_stop() as asked, terminal_progress("reward model") as progress:
        train_reward_model(**vars(given), models_dir=models_dir, progress=progress, is_canceled=asked.is_set)
    report = json.loads((Path(given.output_dir) / "report.json").read_text(encoding="utf-8"))
    return f"{summary(report)}\nThe reward model is in {given.output_dir}; report.json there has every number."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_reward_model",
        description="Train a reward model on preference pairs.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--base-model", default="bert-base-uncased", help="hub name or folder of the base model")
    parser.add_argument(
        "--dataset",
        dest="dataset_path",
        metavar="DATASET",
        default="rlhf/data/preferences.jsonl",
        help="JSONL file of pairs, or its folder",
    )
    parser.add_argument(
        "--output",
        dest="output_dir",
        metavar="OUTPUT",
        default="rlhf/models/reward_model",
        help="folder that the model is written to",
    )
    parser.add_argument(
        "--mode",
        choices=("auto", "full", "frozen"),
        default="auto",
        help="frozen: a head on a frozen encoder; full: every weight; auto: frozen for a sentence encoder on a CPU",
    )
    parser.add_argument("--epochs", type=at_least_one, default=3, help="passes over the pairs (full mode)")
    parser.add_argument("--batch-size", type=at_least_one, default=8, help="pairs in one optimizer step (full mode)")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="AdamW rate at the start (full mode)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of prompt and response that are read")
    parser.add_argument("--seed", type=int, default=42, help="seed of batches, splits and bootstraps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
