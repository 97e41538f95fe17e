"""A base model, a reward model and a config go in; a policy improved by DPO, KTO, RLOO or GRPO is written to a folder.

The same contract as `build_policy`, and the same files. The training itself is TRL's; what it starts from, what it
reads, which of its policies is published and how it is stopped and continued is ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from preceptor.errors import ConfigError, RunCanceled
from preceptor.modeling.device import attention_for
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import load_scorer
from preceptor.modeling.sequences import format_prompt
from preceptor.policy.build import cautious_score, write_card, write_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import restore_best
from preceptor.policy.identity import judgements_file, training_settings
from preceptor.policy.metrics import MetricsLog
from preceptor.policy.ppo import Progress, planned_updates, prompts_of_update
from preceptor.policy.preference_data import (
    Encoder,
    dpo_rows,
    encoder_of,
    kto_rows,
    kto_weights,
    load_pairs,
    load_thumbs,
)
from preceptor.policy.prompts import prompts_of
from preceptor.policy.rollout import Prompt
from preceptor.policy.trl_start import TrainedNetworks, prepare_start, scale_of_scores
from preceptor.policy.trl_state import START, metrics_of, resumed
from preceptor.policy.trl_trainers import Reward, freeze_below, offline_trainer, online_trainer, require_trl, reward_of


def build_with_trl(
    base_model: str,
    reward_model: Path,
    out: Path,
    config: PolicyConfig,
    *,
    work_dir: Path,
    preferences: Path | None = None,
    models_dir: Path | None = None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> dict[str, Any]:
    """Improve `base_model` with TRL and write the policy into the empty folder `out`; returns the run's metrics.

    `work_dir` keeps TRL's checkpoints until the caller removes it. `preferences` is the dataset's file of pairs; its
    thumbs lie beside it. Raises ConfigError without TRL, ModelError, InputError or DataError for what cannot be
    used, RunCanceled when asked to stop.
    """
    require_trl()
    from preceptor.policy.trl_classes import quiet_trl
    from preceptor.policy.trl_watch import Watch

    score = cautious_score(load_scorer(reward_model, device=config.device), config.caution)
    base = resolve_model(base_model, models_dir=models_dir)
    settings = training_settings(config, base, reward_model, preferences)
    texts, kept_back = prompts_of(config, reward_model)
    left = resumed(work_dir, settings)
    start = work_dir / START
    with quiet_transformers(), quiet_trl(progress, is_canceled):
        if left is None:
            shutil.rmtree(start, ignore_errors=True)
            prepare_start(start, base, config, score, preferences, progress, is_canceled)
        model, tokenizer = load_policy(start, dtype="float32", device=config.device)
        eos = eos_ids(model, tokenizer)
        encoder = encoder_of(model, tokenizer, config)
        model.set_attn_implementation(attention_for(model.device))
        networks = TrainedNetworks(model, precision=config.precision)
        freeze_below(model, config)
        prompts, held_out = ([Prompt(text, encoder.prompt(text)) for text in part] for part in (texts, kept_back))
        state = left[1] if left else scale_of_scores(networks, prompts, score, config, encoder, eos)
        with MetricsLog(work_dir, resume_at=state.update, tensorboard=config.tensorboard) as log:
            watch = Watch(
                state,
                networks,
                tokenizer,
                score,
                config,
                held_out=held_out,
                eos=eos,
                folder=work_dir,
                settings=settings,
                log=log,
                progress=progress,
                is_canceled=is_canceled,
            )
            reward = reward_of(score, config, mean=state.score_mean, std=state.score_std, eos=eos)
            trainer, rows = _trainer(model, prompts, reward, config, encoder, preferences, work_dir, watch)
            trainer.train(resume_from_checkpoint=str(left[0]) if left else None)
        state = watch.state
        if watch.canceled:
            raise RunCanceled(f"{config.algorithm} was stopped after update {state.update}; run it again to go on.")
        metrics = metrics_of(work_dir, state, config) | {"rows": rows}
        if state.best_update >= 0:
            restore_best(networks, state, folder=work_dir)
        write_policy(networks.sampler(), tokenizer, work_dir, out)
    write_card(out, base_model, state, config, settings=settings, prompts=len(texts))
    return metrics


def _trainer(
    model: Any,
    prompts: Sequence[Prompt],
    reward: Reward,
    config: PolicyConfig,
    encoder: Encoder,
    preferences: Path | None,
    folder: Path,
    watch: Any,
) -> tuple[Any, int]:
    """TRL's trainer, and how many prompts, pairs or thumbs it learns from."""
    made: dict[str, Any] = {"folder": folder, "callbacks": [watch]}
    if config.algorithm in ("rloo", "grpo"):
        order = [
            (prompt.text, format_prompt(encoder.tokenizer, prompt.text))
            for update in range(planned_updates(len(prompts), config))
            for prompt in prompts_of_update(prompts, update, config)
        ]
        made["max_prompt_tokens"] = encoder.max_prompt_tokens
        return online_trainer(model, encoder.tokenizer, order, reward, config, **made), len(prompts)
    if config.algorithm == "dpo":
        rows = dpo_rows(load_pairs(_judgements(config, preferences)), encoder)
    else:
        thumbs = load_thumbs(_judgements(config, preferences))
        rows = kto_rows(thumbs, encoder, batch=config.mini_batch_size, seed=config.seed)
        made["weights"] = kto_weights(thumbs)
    return offline_trainer(model, encoder.tokenizer, rows, config, **made), len(rows)


def _judgements(config: PolicyConfig, preferences: Path | None) -> Path:
    file = judgements_file(config, preferences)
    if file is None:
        raise ConfigError(f"{config.algorithm} learns from preferences: give preferences_file, a JSONL file of them.")
    return file
