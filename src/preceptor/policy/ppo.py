"""Networks, prompts and a score go in; PPO moves the networks, and one record of metrics a roll-out comes out.

The loop, step by step: 1 take the next prompts, 2 sample answers from the policy as it stands, 3 score them as
text, 4 recompute log-probabilities in training precision and read values, 5 penalize KL by token and estimate
advantages, 6 take clipped optimizer passes, 7 adapt the KL coefficient. Step 4 is what makes the ratio 1 before the
first optimizer step, whatever the sampler's rounding did; passes over other batches may round in another order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.errors import ConfigError, DataError, RunCanceled
from preceptor.policy import losses
from preceptor.policy.checkpoint import RunState, save_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import drop_older, judge, measure
from preceptor.policy.metrics import MetricsLog
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import optimize
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.rollout import (
    Answers,
    Prompt,
    Rollout,
    Score,
    compute_targets,
    evaluate_answers,
    sample_answers,
    scale_of,
    widest,
)

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, dict[str, Any]], None]


def planned_updates(prompts: int, config: PolicyConfig) -> int:
    """How many roll-outs `epochs` passes over the prompts take."""
    at_once = config.batch_size // config.answers_per_prompt
    planned = max(1, -(-config.epochs * prompts // at_once))
    return planned if config.max_updates is None else min(planned, config.max_updates)


def prompts_of_update(prompts: Sequence[Prompt], update: int, config: PolicyConfig) -> list[Prompt]:
    """The prompts of one roll-out: every pass shuffles them anew, and a roll-out may span two passes."""
    at_once = config.batch_size // config.answers_per_prompt
    chosen: list[Prompt] = []
    orders: dict[int, np.ndarray[Any, Any]] = {}
    for place in range(update * at_once, (update + 1) * at_once):
        epoch, index = divmod(place, len(prompts))
        if epoch not in orders:
            orders[epoch] = np.random.default_rng([config.seed, epoch]).permutation(len(prompts))
        chosen.append(prompts[int(orders[epoch][index])])
    return chosen


def train(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    state: RunState,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    score: Score,
    config: PolicyConfig,
    *,
    eos: Sequence[int],
    folder: Path,
    settings: dict[str, Any],
    progress: Progress,
    is_canceled: Callable[[], bool],
    held_out: Sequence[Prompt] = (),
    processes: Processes = ALONE,
) -> RunState:
    """Run PPO from `state` to its planned end, `max_minutes` or the KL budget; checkpoints and metrics go to `folder`.

    `settings` identifies the run in its checkpoints. With `held_out` prompts the policy is judged on them at the
    start, every `evaluate_every` roll-outs and at the end, and the best weights are kept in `folder`. Returns the
    state reached. Raises DataError for a reward model that cannot teach, RunCanceled after a checkpoint when asked
    to stop.
    """
    if not prompts:
        raise DataError("There are no prompts to train on: give a prompts file with a `prompt` a line.")
    at_once = config.batch_size // config.answers_per_prompt
    if at_once < processes.count or 0 < len(held_out) < processes.count:
        raise ConfigError(
            f"A roll-out of {at_once} prompts and {len(held_out)} held-out ones cannot be shared by "
            f"{processes.count} processes: raise batch_size or held_out_prompts, or start fewer."
        )
    total = planned_updates(len(prompts), config)
    both: dict[str, Any] = {"eos": eos, "processes": processes}

    def judged(state: RunState) -> tuple[RunState, dict[str, float]]:
        measured = measure(networks, tokenizer, held_out, score, config, folder=folder, update=state.update, **both)
        record = {f"held_out/{name}": value for name, value in asdict(measured).items()}
        return judge(networks, measured, state, config, folder=folder), record

    with MetricsLog(folder, resume_at=state.update, tensorboard=config.tensorboard) as log:
        if held_out and state.best_update < 0:
            state, _ = judged(state)
        while not _ended(state, total, config):
            if processes.any(is_canceled()):
                save_checkpoint(folder, state, networks, optimizer, settings=settings)
                raise RunCanceled(f"PPO was stopped after {state.update} of {total} roll-outs; run it again to go on.")
            began = time.perf_counter()
            record, state = _update(networks, optimizer, tokenizer, prompts, score, config, state=state, **both)
            spent = processes.agreed(time.perf_counter() - began)
            record["eps"] = config.batch_size / spent
            over = config.kl_budget is not None and record["objective/kl"] > config.kl_budget
            state = replace(state, update=state.update + 1, seconds=state.seconds + spent, over_budget=over)
            if held_out and (state.update % config.evaluate_every == 0 or _ended(state, total, config)):
                state, seen = judged(state)
                record |= seen
                looked = processes.agreed(time.perf_counter() - began - spent)
                state = replace(state, seconds=state.seconds + looked)
            log.write(state.update, record)
            progress(*_place(state, total, config), record)
            if state.update % config.checkpoint_every == 0 and state.update < total:
                save_checkpoint(folder, state, networks, optimizer, settings=settings)
                drop_older(folder, state)
    if state.over_budget:
        logger.info("PPO ended beyond its KL budget after %d of %d roll-outs.", state.update, total)
    elif state.update < total:
        logger.info("PPO used its %.1f minutes after %d of %d roll-outs.", config.max_minutes, state.update, total)
    return state


def _ended(state: RunState, total: int, config: PolicyConfig) -> bool:
    return state.update >= total or state.seconds >= 60 * config.max_minutes or state.over_budget


def _update(
    networks: Networks,
    optimizer: torch.optim.Optimizer,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    score: Score,
    config: PolicyConfig,
    *,
    eos: Sequence[int],
    state: RunState,
    processes: Processes,
) -> tuple[dict[str, float], RunState]:
    """One roll-out and its optimizer passes; the metrics, and the state with scaling and KL coefficient updated."""
    seeds = np.random.SeedSequence([config.seed, state.update]).generate_state(2)
    chosen = prompts_of_update(prompts, state.update, config)
    drawn = sample_answers(
        networks,
        tokenizer,
        chosen,
        score,
        n=config.draws_per_prompt or config.answers_per_prompt,
        eos=eos,
        config=config,
        seed=int(seeds[0]),
        processes=processes,
    )
    if state.update == 0:
        mean, deviation = scale_of(drawn)
        if config.normalize_scores:
            state = replace(state, score_mean=mean, score_std=deviation)
    scaled = ((drawn.scores - state.score_mean) / state.score_std).clamp(-config.score_clip, config.score_clip)
    scaled = losses.penalize_unfinished(scaled, drawn.finished, config.missing_eos_penalty)
    answers, kept = widest(drawn, scaled, config.answers_per_prompt)
    rollout = evaluate_answers(networks, answers, config, processes=processes)
    targets = compute_targets(rollout, kept, kl_coef=state.kl_coef, config=config)
    passes = optimize(networks, optimizer, rollout, targets, config, seed=int(seeds[1]), processes=processes)
    record = _record(drawn, rollout, scaled, state.kl_coef) | passes
    if rollout.weights is not None:
        record["val/importance_mean"] = float(losses.masked_mean(rollout.weights, rollout.mask))
    record |= {
        "objective/kl_coef": state.kl_coef,
        "lr": optimizer.param_groups[0]["lr"],
        "episode": (state.update + 1) * config.batch_size,
        "epoch": (state.update + 1) * len(chosen) / len(prompts),
    }
    if config.adap_kl_ctrl:
        kl_coef = losses.adapt_kl_coef(
            state.kl_coef,
            record["objective/kl"],
            target=config.kl_target,
            samples=config.batch_size,
            horizon=config.kl_horizon,
        )
        state = replace(state, kl_coef=kl_coef)
    return record, state


def _record(answers: Answers, rollout: Rollout, scaled: torch.Tensor, kl_coef: float) -> dict[str, float]:
    """What a roll-out showed, under TRL's metric names; KL, entropy and rewards are sums over an answer.

    Scores and lengths are of all answers drawn, KL and entropy of those that are learned from.
    """
    kl = (losses.kl_k1(rollout.logprobs, rollout.ref_logprobs) * rollout.mask).sum(1)
    return {
        "objective/kl": float(kl.mean()),
        "objective/entropy": float((-rollout.logprobs * rollout.mask).sum(1).mean()),
        "objective/scores": float(answers.scores.mean()),
        "objective/scores_std": float(answers.scores.std()) if len(scaled) > 1 else 0.0,
        "objective/non_score_reward": float(-kl_coef * kl.mean()),
        "objective/rlhf_reward": float(scaled.mean() - kl_coef * kl.mean()),
        "val/num_eos_tokens": float(answers.finished.sum()),
        "val/response_length": sum(len(ids) for row in answers.token_ids for ids in row) / len(answers.texts),
    }


def _place(state: RunState, total: int, config: PolicyConfig) -> tuple[int, int]:
    """Done and total for the progress bar, where the time limit will end the run first."""
    within = 60 * config.max_minutes / state.seconds * state.update
    return state.update, max(state.update, min(total, round(within)))
