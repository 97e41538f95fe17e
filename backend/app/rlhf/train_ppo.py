"""`python -m app.rlhf.train_ppo`: a base model and a reward model folder go in, a policy trained with PPO comes out."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

try:
    import preceptor  # noqa: F401  (installed, or on the path already)
except ModuleNotFoundError:  # a source checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))

from preceptor.commands.seed import asked_to_stop, run_seed_command

_INTEGERS = (
    *("epochs", "ppo_epochs", "batch_size", "mini_batch_size", "gradient_accumulation_steps", "max_new_tokens"),
    *("max_prompts", "max_updates", "train_layers", "warm_start_epochs", "checkpoint_every", "seed"),
)
_NUMBERS = ("learning_rate", "target_kl", "init_kl_coef", "max_minutes")
_FILES = ("prompts_file", "warm_start_file")


def train_with_ppo(
    base_model: str = "gpt2",
    reward_model_path: str = "rlhf/models/reward_model",
    output_dir: str = "rlhf/models/ppo_model",
    **config: Any,
) -> dict[str, Any]:
    """Fine-tune a policy with PPO and write it to `output_dir`; `config` takes any field of PolicyConfig."""
    from preceptor.policy.run import train_with_ppo as train

    return train(base_model, reward_model_path, output_dir, **config)


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and train. Returns 0, 1 for an error told in one sentence, 130 when stopped."""
    stopped = "stopped at once; the same command goes on from the last checkpoint, or begins anew where there is none."
    return run_seed_command(_parser(), _train, arguments, stopped=stopped)


def _train(given: argparse.Namespace) -> str:
    from preceptor.policy.config import DEMO
    from preceptor.policy.run import summary
    from preceptor.terminal import terminal_progress

    words = vars(given)
    places = [words.pop(name) for name in ("base_model", "reward_model", "output")]
    preset = DEMO if words.pop("preset") == "demo" else {}
    config = {**preset, **{name: value for name, value in words.items() if value is not None}}
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one shows progress and tells
    with asked_to_stop() as asked, terminal_progress("PPO") if first else nullcontext() as progress:
        metrics = train_with_ppo(*places, progress=progress, is_canceled=asked.is_set, **config)
    return f"{summary(metrics)}\nThe policy is in {places[2]}." if first else ""


def _parser() -> argparse.ArgumentParser:
    from preceptor.policy.config import PolicyConfig

    def told(name: str) -> str:
        field = PolicyConfig.model_fields[name]
        return str(field.description) + ("" if field.default is None else f" (default: {field.default})")

    parser = argparse.ArgumentParser(
        prog="train_ppo",
        description="Improve a policy with PPO against a reward model.",
        epilog="With --preset demo, the defaults are those that moved the embedded policy fastest on two CPU cores.",
    )
    parser.add_argument("--base-model", default="gpt2", help="Model to start from: hub name or folder (default: gpt2)")
    for flag, where, text in (
        ("--reward-model", "rlhf/models/reward_model", "Folder of the reward model"),
        ("--output", "rlhf/models/ppo_model", "Folder that the policy is written to"),
    ):
        parser.add_argument(flag, default=where, metavar="FOLDER", help=f"{text} (default: {where})")
    parser.add_argument("--preset", choices=("standard", "demo"), default="standard", help="Settings to start from")
    for names, kind in ((_INTEGERS, int), (_NUMBERS, float), (_FILES, Path)):
        for name in names:
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__, help=told(name))
    parser.add_argument("--mode", choices=("hydra", "full"), help=told("mode"))
    parser.add_argument("--precision", choices=("bfloat16", "float32"), help=told("precision"))
    parser.add_argument("--sharding", choices=("none", "fsdp"), help=told("sharding"))
    parser.add_argument("--early-stopping", action=argparse.BooleanOptionalAction, help=told("early_stopping"))
    parser.add_argument(
        "--gradient-checkpointing", action="store_true", default=None, help=told("gradient_checkpointing")
    )
    parser.add_argument("--tensorboard", action="store_true", default=None, help=told("tensorboard"))
    return parser


if __name__ == "__main__":
    code = main()
    if "WORLD_SIZE" in os.environ:
        from preceptor.policy.processes import leave

        leave(code)
    sys.exit(code)
