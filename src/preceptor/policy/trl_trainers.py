"""A model, the rows or prompts to learn from and a config go in; TRL's trainer for them comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from preceptor.errors import ConfigError, DataError
from preceptor.modeling.device import choose_device
from preceptor.policy import losses
from preceptor.policy.blocks import body_of, layers_of, norm_of
from preceptor.policy.config import PolicyConfig
from preceptor.policy.rollout import Score

Reward = Callable[..., list[float]]


def require_trl() -> str:
    """The version of TRL. Raises ConfigError naming the extra where it is not installed, or another one is."""
    try:
        from trl import __version__
    except ImportError:
        raise ConfigError("TRL is not installed: run `pip install preceptor[trl]`, or choose algorithm ppo.") from None
    if not __version__.startswith("1.16."):
        raise ConfigError(f"TRL {__version__} is installed, and 1.16 is wanted: run `pip install preceptor[trl]`.")
    return str(__version__)


def steps_per_update(config: PolicyConfig) -> int:
    """Optimizer steps that count as one update: those on one roll-out, or a single one without roll-outs."""
    if config.algorithm in ("dpo", "kto"):
        return 1
    steps, rest = divmod(
        config.batch_size // config.mini_batch_size * config.ppo_epochs, config.gradient_accumulation_steps
    )
    if rest or not steps:
        raise ConfigError(
            "The mini-batches of a roll-out, times ppo_epochs, must be a multiple of gradient_accumulation_steps."
        )
    return steps


def freeze_below(model: Any, config: PolicyConfig) -> None:
    """In hydra mode leave only the top layers and the last norm trainable, as PPO does; in full mode everything."""
    model.requires_grad_(config.mode == "full")
    if config.mode == "full":
        return
    layers = layers_of(body_of(model))
    if config.train_layers >= len(layers):
        raise ConfigError(f"train_layers {config.train_layers} must be at least 1 and below the model's {len(layers)}.")
    trained: Sequence[nn.Module] = [*list(layers)[-config.train_layers :], norm_of(body_of(model))]
    for part in trained:
        part.requires_grad_(True)


def offline_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    config: PolicyConfig,
    *,
    folder: Path,
    callbacks: Sequence[Any],
    weights: tuple[float, float] = (1.0, 1.0),
) -> Any:
    """The trainer of DPO or KTO on encoded rows; `weights` are those of thumbs up and down.

    The reference's log-probabilities are taken once, before training, from `model` as it is now.
    """
    from datasets import Dataset
    from trl import DPOConfig, KTOConfig

    from preceptor.policy.trl_classes import Dpo, Kto

    shared = _shared(config, folder) | {
        "gradient_accumulation_steps": config.batch_size // config.mini_batch_size,
        "num_train_epochs": config.epochs,
        "precompute_ref_log_probs": True,
        "max_length": None,
    }
    made = {
        "model": model,
        "processing_class": tokenizer,
        "train_dataset": Dataset.from_list(list(rows)),
        "callbacks": list(callbacks),
    }
    if config.algorithm == "dpo":
        return _unprinted(Dpo(args=_on_one_device(DPOConfig(**shared)), **made))
    up, down = weights
    args = KTOConfig(**shared, desirable_weight=up, undesirable_weight=down)
    return _unprinted(Kto(args=_on_one_device(args), **made))


def online_trainer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[tuple[str, str]],
    reward: Reward,
    config: PolicyConfig,
    *,
    folder: Path,
    callbacks: Sequence[Any],
    max_prompt_tokens: int,
) -> Any:
    """The trainer of RLOO or GRPO on (prompt, formatted prompt), in this order, one roll-out after the other.

    TRL loads the reference from the folder that `model` came from.
    """
    from datasets import Dataset
    from trl import GRPOConfig, RLOOConfig

    from preceptor.policy.trl_classes import Grpo, Rloo

    shared = _shared(config, folder) | {
        "gradient_accumulation_steps": config.gradient_accumulation_steps,
        "num_train_epochs": 1,
        "generation_batch_size": config.batch_size,
        "num_generations": config.answers_per_prompt,
        "num_iterations": config.ppo_epochs,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "epsilon": config.cliprange,
        "shuffle_dataset": False,
        "log_completions": False,
    }
    rows = [{"prompt": formatted, "question": prompt} for prompt, formatted in prompts]
    made = {
        "model": model,
        "processing_class": tokenizer,
        "reward_funcs": reward,
        "train_dataset": Dataset.from_list(rows),
        "callbacks": list(callbacks),
    }
    online: Any = (
        Rloo(args=_on_one_device(RLOOConfig(**shared)), **made)
        if config.algorithm == "rloo"
        else Grpo(args=_on_one_device(GRPOConfig(**shared)), **made)
    )
    online.max_prompt_tokens = max_prompt_tokens
    return _unprinted(online)


def reward_of(score: Score, config: PolicyConfig, *, mean: float, std: float, eos: Sequence[int]) -> Reward:
    """What TRL calls: the scaled and clipped score of each answer, less the penalty for one that did not end."""
    stops = set(eos)

    def reward_model(completions: list[str], completion_ids: list[list[int]], question: list[str], **_: Any) -> Any:
        scores = torch.from_numpy(np.asarray(score(question, [text.strip() for text in completions]), dtype=np.float32))
        if not torch.isfinite(scores).all():
            raise DataError("The reward model gave scores that are not numbers: train it again.")
        scaled = ((scores - mean) / std).clamp(-config.score_clip, config.score_clip)
        finished = torch.tensor([bool(ids) and ids[-1] in stops for ids in completion_ids])
        return losses.penalize_unfinished(scaled, finished, config.missing_eos_penalty).tolist()

    return reward_model


def _on_one_device(arguments: Any) -> Any:
    """Else TRL refuses a machine with several GPUs, on which transformers would copy the model to each."""
    arguments._n_gpu = min(arguments.n_gpu, 1)  # the first look at n_gpu is what counts them
    return arguments


def _unprinted(trainer: Any) -> Any:
    """The trainer without the callback that prints every record."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def _shared(config: PolicyConfig, folder: Path) -> dict[str, Any]:
    """The arguments that all trainers take; they report to nobody."""
    unit = steps_per_update(config)
    return {
        "output_dir": str(folder),
        "use_cpu": choose_device(config.device).type == "cpu",
        "bf16": config.precision == "bfloat16",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "disable_dropout": True,
        "beta": config.init_kl_coef,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": config.max_grad_norm,
        "per_device_train_batch_size": config.mini_batch_size,
        "max_steps": -1 if config.max_updates is None else config.max_updates * unit,
        "logging_steps": unit,
        "logging_nan_inf_filter": False,  # it would hide a loss that is not a number
        "save_strategy": "steps",
        "save_steps": config.checkpoint_every * unit,
        "save_total_limit": 2,
        "seed": config.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }
