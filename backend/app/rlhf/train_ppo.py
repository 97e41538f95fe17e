"""`python -m app.rlhf.train_ppo`: a base model and a reward model folder go in, a policy trained with PPO comes out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

try:
    import preceptor  # noqa: F401  (installed, or on the path already)
except ModuleNotFoundError:  # a source checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))

from preceptor.errors import PreceptorError


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
    """Parse the command line and train. Returns 0, or 1 for an error told in one sentence."""
    words = [_dashed(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    given = vars(_parser().parse_args(words))
    base_model, reward_model, output = given.pop("base_model"), given.pop("reward_model"), given.pop("output")
    preset = given.pop("preset")
    try:
        from preceptor.policy.config import DEMO
        from preceptor.policy.run import summary
        from preceptor.terminal import terminal_progress

        chosen = {name: value for name, value in given.items() if value is not None}
        config = {**(DEMO if preset == "demo" else {}), **chosen}
        with terminal_progress("PPO") as progress:
            metrics = train_with_ppo(base_model, reward_model, output, progress=progress, **config)
    except PreceptorError as error:
        print(f"train_ppo: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train_ppo: stopped; the same command continues from the last checkpoint.", file=sys.stderr)
        return 130
    print(summary(metrics))
    print(f"The policy is in {output}.")
    return 0


def _dashed(word: str) -> str:
    """`--base_model` as `--base-model`; values stay as they are."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_ppo",
        description="Improve a policy with PPO against a reward model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=None,
    )
    parser.add_argument("--base-model", default="gpt2", help="hub name or folder of the model to start from")
    parser.add_argument("--reward-model", default="rlhf/models/reward_model", help="folder of the reward model")
    parser.add_argument("--output", default="rlhf/models/ppo_model", help="folder that the policy is written to")
    parser.add_argument("--preset", choices=("standard", "demo"), default="standard", help="settings to start from")
    for flag, kind, text in (
        ("--epochs", int, "passes over the prompts"),
        ("--ppo-epochs", int, "optimizer passes over one roll-out"),
        ("--learning-rate", float, "AdamW rate of the policy"),
        ("--batch-size", int, "answers in one roll-out"),
        ("--mini-batch-size", int, "answers in one forward and backward pass"),
        ("--gradient-accumulation-steps", int, "mini-batches an optimizer step"),
        ("--target-kl", float, "approximate KL that ends the passes over a roll-out"),
        ("--init-kl-coef", float, "weight of KL to the reference policy"),
        ("--max-new-tokens", int, "length limit of an answer"),
        ("--max-prompts", int, "prompts used, at most"),
        ("--max-minutes", float, "time after which training ends with what it has"),
        ("--max-updates", int, "roll-outs after which training ends"),
        ("--train-layers", int, "top layers trained in hydra mode"),
        ("--warm-start-epochs", int, "supervised passes over chosen answers first"),
        ("--seed", int, "seed of prompts, sampling and mini-batches"),
    ):
        parser.add_argument(flag, type=kind, help=text + " (preset's value when absent)")
    parser.add_argument("--mode", choices=("hydra", "full"), help="top layers on a frozen trunk, or every layer")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), help="arithmetic of matrix products")
    parser.add_argument("--prompts-file", type=Path, help="JSONL with a `prompt` a line")
    parser.add_argument("--warm-start-file", type=Path, help="JSONL with `prompt` and `chosen`")
    parser.add_argument("--early-stopping", action=argparse.BooleanOptionalAction, help="stop passes at target-kl")
    parser.add_argument("--tensorboard", action="store_true", default=None, help="also write TensorBoard events")
    return parser


if __name__ == "__main__":
    sys.exit(main())
