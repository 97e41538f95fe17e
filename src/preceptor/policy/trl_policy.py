"""A base model, a reward model and a config go in; a policy improved by DPO, KTO, RLOO or GRPO is written to a folder.

The same contract as `build_policy`, and the same files. The training itself is TRL's; what it starts from, what it
reads, which of its policies is published and how it is stopped and continued is ours.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from preceptor.errors import ConfigError, DataError, InputError, RunCanceled
from preceptor.modeling.policy_model import context_length, eos_ids, load_policy
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import load_scorer
from preceptor.modeling.sequences import format_prompt
from preceptor.policy.build import (
    WARM_START_FILE,
    cautious_score,
    training_settings,
    warm_started,
    write_card,
    write_policy,
)
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import restore_best
from preceptor.policy.metrics import MetricsLog
from preceptor.policy.networks import FullNetworks, cast_weights, make_networks
from preceptor.policy.ppo import Progress, planned_updates, prompts_of_update
from preceptor.policy.preference_data import Encoder, dpo_rows, kto_rows, kto_weights, load_pairs, load_thumbs
from preceptor.policy.prompts import load_held_out, load_prompts
from preceptor.policy.rollout import Prompt, Score, sample_answers
from preceptor.policy.sequences import Sequences
from preceptor.policy.trl_state import metrics_of, resumed
from preceptor.policy.trl_trainers import freeze_below, offline_trainer, online_trainer, require_trl, reward_of

_START = "start"
_SCALED_ON = 32  # training prompts whose answers give the scale of the scores


class TrainedNetworks(FullNetworks):
    """A model that a trainer changes, beside a frozen copy of what it started from; it has no critic."""

    def __init__(self, model: Any, *, precision: str) -> None:
        self.precision = precision
        self._reference = copy.deepcopy(model).requires_grad_(False)
        self._sampler = cast_weights(copy.deepcopy(self._reference), precision)
        self.model = model

    def policy_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What the trainer moves."""
        for name, parameter in self.model.named_parameters(prefix="policy"):
            if parameter.requires_grad:
                yield name, parameter

    def values(self, features: Tensor, sequences: Sequences) -> Tensor:  # noqa: ARG002
        """No values: zeros (N,)."""
        return torch.zeros(len(sequences.tokens()))


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

    `work_dir` keeps TRL's checkpoints and is removed at the end. `preferences` is the dataset's file of pairs; its
    thumbs lie beside it. Raises ConfigError without TRL, ModelError, InputError or DataError for what cannot be
    used, RunCanceled when asked to stop.
    """
    require_trl()
    if config.kl_budget is not None and not config.held_out_prompts:
        raise ConfigError(f"With {config.algorithm}, kl_budget is measured on held-out prompts: allow some.")
    score = cautious_score(load_scorer(reward_model), config.caution)
    base = resolve_model(base_model, models_dir=models_dir)
    settings = training_settings(config, base, reward_model)
    left = resumed(work_dir, settings)
    from preceptor.policy.trl_classes import no_bars

    with quiet_transformers(), no_bars():
        start = work_dir / _START
        if left is None:
            shutil.rmtree(start, ignore_errors=True)
            _prepare_start(start, base, config, score, preferences, progress, is_canceled)
        return _train(
            base_model, start, reward_model, out, config, left, score, settings, preferences, progress, is_canceled
        )


def _train(
    base_model: str,
    start: Path,
    reward_model: Path,
    out: Path,
    config: PolicyConfig,
    left: tuple[Path, RunState] | None,
    score: Score,
    settings: dict[str, Any],
    preferences: Path | None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> dict[str, Any]:
    from preceptor.policy.trl_watch import Watch

    work_dir = start.parent
    model, tokenizer = load_policy(start, dtype="float32")
    eos = eos_ids(model, tokenizer)
    encoder = Encoder(tokenizer, eos[0], min(config.max_prompt_tokens, context_length(model) - config.max_new_tokens))
    model.set_attn_implementation("eager")  # on CPU two plain products beat the fused kernel
    networks = TrainedNetworks(model, precision=config.precision)
    freeze_below(model, config)
    file = config.prompts_file or reward_model / "prompts.jsonl"
    texts = load_prompts(file, most=config.max_prompts, seed=config.seed)
    held_out = [
        Prompt(text, encoder.prompt(text))
        for text in load_held_out(file, most=config.held_out_prompts, seed=config.seed)
    ]
    if left is None:
        prompts = [Prompt(text, encoder.prompt(text)) for text in texts[:_SCALED_ON]]
        state = _scaled(networks, tokenizer, prompts, score, config, eos)
    else:
        state = left[1]
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
        made: dict[str, Any] = {"folder": work_dir, "callbacks": [watch]}
        if config.algorithm in ("rloo", "grpo"):
            planned = [Prompt(text, []) for text in texts]
            order = [
                (prompt.text, format_prompt(tokenizer, prompt.text))
                for update in range(planned_updates(len(planned), config))
                for prompt in prompts_of_update(planned, update, config)
            ]
            reward = reward_of(score, config, mean=state.score_mean, std=state.score_std, eos=eos)
            made["max_prompt_tokens"] = encoder.max_prompt_tokens
            trainer, rows = online_trainer(model, tokenizer, order, reward, config, **made), len(texts)
        elif config.algorithm == "dpo":
            pairs = dpo_rows(load_pairs(_data(config, preferences, "preferences.jsonl")), encoder)
            trainer, rows = offline_trainer(model, tokenizer, pairs, config, **made), len(pairs)
        else:
            thumbs = load_thumbs(_data(config, preferences, "unpaired.jsonl"))
            mixed = kto_rows(thumbs, encoder, batch=config.mini_batch_size, seed=config.seed)
            made["weights"] = kto_weights(thumbs)
            trainer, rows = offline_trainer(model, tokenizer, mixed, config, **made), len(mixed)
        trainer.train(resume_from_checkpoint=str(left[0]) if left else None)
    state = watch.state
    if watch.canceled:
        raise RunCanceled(f"{config.algorithm} was stopped after {state.update} updates; run it again to go on.")
    metrics = metrics_of(work_dir, state, config) | {"rows": rows}
    if state.best_update >= 0:
        restore_best(networks, state, folder=work_dir)
    write_policy(networks, tokenizer, work_dir, out)
    write_card(out, base_model, state, config, settings=settings, prompts=len(texts))
    shutil.rmtree(work_dir)
    return metrics


def _prepare_start(
    folder: Path,
    base: Path,
    config: PolicyConfig,
    score: Score,
    preferences: Path | None,
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> None:
    """Write the model that training starts from, after the warm start if one is wanted: it is also the reference."""
    model, tokenizer = load_policy(base, dtype="float32")
    room = context_length(model) - config.max_new_tokens
    if room < 1:
        raise InputError(f"max_new_tokens {config.max_new_tokens} fills the model's context: lower it.")
    warmed: dict[str, float] = {}
    if config.warm_start_epochs:
        eos = eos_ids(model, tokenizer)
        encoder = Encoder(tokenizer, eos[0], min(config.max_prompt_tokens, room))
        networks = make_networks(
            model, mode=config.mode, train_layers=config.train_layers, precision=config.precision, seed=config.seed
        )
        warmed = warm_started(
            networks,
            tokenizer,
            score,
            config,
            lambda text: Prompt(text, encoder.prompt(text)),
            preferences,
            eos,
            progress,
            is_canceled,
        )
        model = networks.sampler()
        model.set_attn_implementation("sdpa")
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder.parent / WARM_START_FILE).write_text(json.dumps(warmed), encoding="utf-8")


def _scaled(
    networks: TrainedNetworks, tokenizer: Any, prompts: list[Prompt], score: Score, config: PolicyConfig, eos: list[int]
) -> RunState:
    """Mean and deviation of the reference's scores, from one answer each to some training prompts."""
    state = RunState(kl_coef=config.init_kl_coef)
    if not config.normalize_scores:
        return state
    single = config.model_copy(update={"answers_per_prompt": 1})
    answers = sample_answers(networks, tokenizer, prompts, score, eos=eos, config=single, seed=config.seed)
    mean, deviation = float(answers.scores.mean()), float(answers.scores.std()) if len(prompts) > 1 else 1.0
    if deviation < 1e-6:
        raise DataError(
            f"The reward model gave {len(prompts)} answers the same score: it cannot teach. Train it again."
        )
    return RunState(kl_coef=config.init_kl_coef, score_mean=mean, score_std=deviation)


def _data(config: PolicyConfig, preferences: Path | None, name: str) -> Path:
    if config.preferences_file is not None:
        return config.preferences_file
    if preferences is None:
        raise ConfigError(f"{config.algorithm} learns from preferences: give preferences_file, a JSONL file of them.")
    return preferences.with_name(name)
