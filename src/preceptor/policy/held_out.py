"""A policy under training and held-out prompts go in; how it does on them and its best weights so far come out.

The reward model's score goes on rising where the policy only learns to please it. So the policy that is published is
not the last one but the one with the highest reward on prompts that it was not trained on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from preceptor.files.atomic import atomic_folder, write_atomic
from preceptor.policy import losses
from preceptor.policy.checkpoint import RunState, best_weights
from preceptor.policy.config import PolicyConfig
from preceptor.policy.networks import Networks
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.rollout import Prompt, Score, evaluate_answers, sample_answers
from preceptor.policy.shards import gather, spread

ANSWERS_FILE = "held_out.jsonl"


@dataclass(frozen=True)
class Measured:
    """Means over the answers to held-out prompts."""

    score: float  # as the reward model gave it
    unfinished: float  # share of answers that the length limit cut off
    kl: float  # nats an answer from the reference


def measure(
    networks: Networks,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    score: Score,
    config: PolicyConfig,
    *,
    eos: Sequence[int],
    processes: Processes = ALONE,
    folder: Path | None = None,
    update: int = 0,
) -> Measured:
    """Answers to held-out prompts, drawn with the same random numbers every time so that policies compare.

    With a `folder` the answers are kept there under the number of roll-outs before them: another judge, which must
    not be at hand while a policy is trained to please this one, reads them when the policy is evaluated.
    """
    seed = int(np.random.SeedSequence([config.seed, len(prompts), 2]).generate_state(1)[0])
    n = config.held_out_answers
    answers = sample_answers(
        networks, tokenizer, prompts, score, n=n, eos=eos, config=config, seed=seed, processes=processes
    )
    rollout = evaluate_answers(networks, answers, config, processes=processes)
    kl = (losses.kl_k1(rollout.logprobs, rollout.ref_logprobs) * rollout.mask).sum(1)  # (B,)
    if folder is not None:
        asked = [prompt.text for prompt in answers.prompts for _ in range(n)]
        columns = zip(asked, answers.texts, answers.finished, answers.scores, kl, strict=True)
        keep_answers(
            folder,
            update,
            [
                {"prompt": p, "response": text, "finished": bool(ended), "score": float(s), "kl": float(k)}
                for p, text, ended, s, k in columns
            ],
        )
    return Measured(float(answers.scores.mean()), float((~answers.finished).float().mean()), float(kl.mean()))


def keep_answers(folder: Path, update: int, rows: Sequence[dict[str, Any]]) -> None:
    """Add one look's answers to `held_out.jsonl`; what an interrupted run left of this look and later ones goes."""
    path = folder / ANSWERS_FILE
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    kept = [line for line in lines if line and json.loads(line)["update"] < update]
    kept += [json.dumps({"update": update, **row}, ensure_ascii=False) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(line + "\n" for line in kept))


def held_out_reward(measured: Measured, *, mean: float, std: float, config: PolicyConfig) -> float:
    """What PPO maximizes, on held-out answers: the scaled score less the penalties for cut-off answers and for KL.

    The KL weight is the first one: the adaptive weight changes with time and would make two policies incomparable.
    """
    scaled = (measured.score - mean) / std
    return scaled - config.missing_eos_penalty * measured.unfinished - config.init_kl_coef * measured.kl


def judge(networks: Networks, measured: Measured, state: RunState, config: PolicyConfig, *, folder: Path) -> RunState:
    """The state after comparing the present policy with the best one; better weights are written to `folder`.

    A policy beyond `kl_budget` is never the best, except that the first one judged is whatever it is.
    """
    if state.best_update >= 0:
        scale: dict[str, Any] = {"mean": state.score_mean, "std": state.score_std, "config": config}
        best = Measured(state.best_score, state.best_unfinished, state.best_kl)
        too_far = config.kl_budget is not None and measured.kl > config.kl_budget
        if too_far or held_out_reward(measured, **scale) <= held_out_reward(best, **scale):
            return state
    weights = gather(networks.policy_parameters())
    target = best_weights(folder, state.update)
    with atomic_folder(target.parent) as building:
        save_file(weights, building / target.name)
    return replace(
        state,
        best_update=state.update,
        best_score=measured.score,
        best_unfinished=measured.unfinished,
        best_kl=measured.kl,
    )


def drop_older(folder: Path, state: RunState) -> None:
    """Remove what was the best before; only once a checkpoint, or the end of the run, refers to the new one."""
    for path in folder.glob("best-*"):
        if path != best_weights(folder, state.best_update).parent:
            shutil.rmtree(path, ignore_errors=True)


@torch.no_grad()
def restore_best(networks: Networks, state: RunState, *, folder: Path) -> None:
    """Give the networks the best policy's weights."""
    weights = load_file(best_weights(folder, state.best_update))
    for name, parameter in networks.policy_parameters():
        parameter.copy_(spread(weights[name], parameter))
