"""A base model, a reward model and a config go in; the files of an improved policy are written to a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preceptor.errors import ConfigError
from preceptor.modeling.device import DeviceName
from preceptor.modeling.freed_memory import keep_freed_memory
from preceptor.modeling.policy_model import eos_ids, load_policy
from preceptor.modeling.quiet import quiet_transformers
from preceptor.modeling.resolve import resolve_model
from preceptor.modeling.reward_model import Scorer, load_scorer
from preceptor.modeling.sequences import PROMPT_VERSION
from preceptor.policy.checkpoint import RunState, load_checkpoint, save_checkpoint
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import ANSWERS_FILE, restore_best
from preceptor.policy.identity import training_settings
from preceptor.policy.layouts import make_networks
from preceptor.policy.losses import cautious_scores
from preceptor.policy.metrics import METRICS_FILE, read_metrics, without_clock
from preceptor.policy.networks import Networks
from preceptor.policy.optimize import make_optimizer
from preceptor.policy.ppo import Progress, train
from preceptor.policy.preference_data import Encoder, encoder_of
from preceptor.policy.processes import ALONE, Processes
from preceptor.policy.prompts import load_chosen, prompts_of
from preceptor.policy.rollout import Prompt, Score
from preceptor.policy.vllm_sampler import VersionedSampler, VllmEngine
from preceptor.policy.warmstart import warm_start

CARD_FILE = "preceptor.json"
WARM_START_FILE = "warm_start.json"


def build_policy(
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
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Improve `base_model` and write the policy into the empty folder `out`; returns the flat metrics of the run.

    `work_dir` keeps checkpoints; what an interrupted run of the same settings left there is continued, and the caller
    removes it once `out` is published. `preferences` holds the chosen answers of a warm start. Of several `processes`
    the first writes; the others return no metrics. Raises ModelError, InputError or DataError for what cannot be used,
    RunCanceled when asked to stop.
    """
    score = cautious_score(load_scorer(reward_model, device=config.device), config.caution)
    texts, held_out = prompts_of(config, reward_model)
    base = resolve_model(base_model, models_dir=models_dir)
    if config.sharding == "fsdp" and processes.count == 1:
        raise ConfigError("sharding fsdp spreads weights over processes: start several with torchrun, or leave it out.")
    whole_on: DeviceName = "cpu" if config.sharding == "fsdp" else config.device  # no GPU need hold the whole model
    model, tokenizer = load_policy(base, dtype="float32", device=whole_on)
    eos = eos_ids(model, tokenizer)
    encoder = encoder_of(model, tokenizer, config)
    settings = training_settings(config, base, reward_model, preferences) | {"processes": processes.count}
    keep_freed_memory()
    networks = make_networks(model, config, processes=processes)
    if config.sampler == "vllm":
        if processes.count > 1:
            raise ConfigError("vLLM samples for one training process: start it without torchrun, or use built_in.")
        longest = encoder.max_prompt_tokens + config.max_new_tokens
        networks.outside = VersionedSampler(VllmEngine(config, max_length=longest), work_dir / "sampler")
    optimizer = make_optimizer(networks, config)
    state = load_checkpoint(work_dir, networks, optimizer, settings=settings)
    with _files_of(processes, work_dir) as folder:
        if state is None:
            state = RunState(kl_coef=config.init_kl_coef)
            if config.warm_start_epochs:
                warmed = warm_started(
                    networks, tokenizer, score, config, encoder, preferences, eos, progress, is_canceled
                )
                folder.mkdir(parents=True, exist_ok=True)
                (folder / WARM_START_FILE).write_text(json.dumps(warmed), encoding="utf-8")
                save_checkpoint(folder, state, networks, optimizer, settings=settings)
        _same_weights(networks, processes)
        state = train(
            networks,
            optimizer,
            state,
            tokenizer,
            [Prompt(text, encoder.prompt(text)) for text in texts],
            score,
            config,
            eos=eos,
            folder=folder,
            settings=settings,
            progress=progress,
            is_canceled=is_canceled,
            held_out=[Prompt(text, encoder.prompt(text)) for text in held_out],
            processes=processes,
        )
    if not (processes.first or networks.sharded):
        return {}
    if state.best_update >= 0:
        if networks.sharded:
            processes.any(False)  # a meeting: the first process has written what all of them read
        restore_best(networks, state, folder=work_dir)
    best = networks.sampler()
    if not processes.first:
        return {}
    metrics = _summary(work_dir, state)
    write_policy(best, tokenizer, work_dir, out)
    write_card(out, base_model, state, config, settings=settings, prompts=len(texts))
    return metrics


def _same_weights(networks: Networks, processes: Processes) -> None:
    """Start every process from the first one's weights, whatever each rounded on its way."""
    if networks.sharded:
        return  # each holds its own part of what all of them read
    parameters = [*networks.policy_parameters(), *networks.value_parameters()]
    processes.copy_from_first([p for _, p in parameters] + list(networks.reference_state().values()))


@contextmanager
def _files_of(processes: Processes, work_dir: Path) -> Iterator[Path]:
    """Where a process keeps its checkpoints: those of the first count, the others' go with the process."""
    if processes.first:
        yield work_dir
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def write_card(
    out: Path, base_model: str, state: RunState, config: PolicyConfig, *, settings: dict[str, Any], prompts: int
) -> None:
    """Write `preceptor.json`: what the policy was made of, by which algorithm, and with which libraries."""
    libraries = ["torch", "transformers"] if config.algorithm == "ppo" else ["torch", "transformers", "trl"]
    card = {
        "kind": "policy",
        "algorithm": config.algorithm,
        "versions": {name: version(name) for name in libraries},
        "base_model": base_model,
        "base_digest": settings["base"],
        "reward_digest": settings["reward"],
        "prompt_version": PROMPT_VERSION,
        "prompts": prompts,
        "config": config.model_dump(mode="json"),
        "score_mean": state.score_mean,
        "score_std": state.score_std,
        "updates": state.update,
        "published_update": state.best_update if state.best_update >= 0 else state.update,
    }
    (out / CARD_FILE).write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def cautious_score(scorer: Scorer, caution: float) -> Score:
    """The reward model's score; with caution, the mean of its ensemble less that many deviations.

    Raises ConfigError for caution with a reward model of one member, which never disagrees with itself.
    """
    if not caution:
        return scorer.score
    if scorer.card.ensemble < 2:
        raise ConfigError(
            f"caution {caution:g} weighs how far a reward model's members differ, and this one "
            f"({scorer.card.mode} mode) has a single member: leave caution at 0, or train the reward model in frozen "
            "mode with an ensemble."
        )

    def score(prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray[Any, Any]:
        ensemble = torch.from_numpy(np.asarray(scorer.score_ensemble(prompts, responses), dtype=np.float32))
        return cautious_scores(ensemble, caution).numpy()

    return score


def warm_started(
    networks: Networks,
    tokenizer: Any,
    score: Score,
    config: PolicyConfig,
    encoder: Encoder,
    preferences: Path | None,
    eos: list[int],
    progress: Progress,
    is_canceled: Callable[[], bool],
) -> dict[str, float]:
    """Fit the networks to the chosen answers of the config or of the reward model's dataset; see `warm_start`."""
    path = config.warm_start_file or preferences
    if path is None:
        raise ConfigError("A warm start needs chosen answers: give warm_start_file, a JSONL of `prompt` and `chosen`.")
    examples = [
        (Prompt(prompt, encoder.prompt(prompt)), encoder.answer(chosen)) for prompt, chosen in load_chosen(path)
    ]
    return warm_start(networks, tokenizer, examples, score, config, eos=eos, progress=progress, is_canceled=is_canceled)


def write_policy(model: Any, tokenizer: Any, work_dir: Path, out: Path) -> None:
    """What was sampled is what is saved: the weights in the compute precision, with metrics beside them."""
    model.set_attn_implementation("sdpa")
    with quiet_transformers():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
    rows = without_clock(read_metrics(work_dir / METRICS_FILE))
    (out / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if (work_dir / ANSWERS_FILE).is_file():
        shutil.copyfile(work_dir / ANSWERS_FILE, out / ANSWERS_FILE)
    if (work_dir / "tensorboard").is_dir():
        shutil.copytree(work_dir / "tensorboard", out / "tensorboard")


def _summary(work_dir: Path, state: RunState) -> dict[str, Any]:
    """The numbers a run's record keeps; scores are means over the first and over the last tenth of the roll-outs."""
    rows = read_metrics(work_dir / METRICS_FILE)
    ends = max(1, len(rows) // 10)

    def mean(name: str, part: list[dict[str, Any]]) -> float | None:
        return sum(row[name] for row in part) / len(part) if part else None

    warm = work_dir / WARM_START_FILE
    return {
        **(json.loads(warm.read_text(encoding="utf-8")) if warm.is_file() else {}),
        "updates": state.update,
        "published_update": state.best_update if state.best_update >= 0 else state.update,
        "held_out_score": state.best_score if state.best_update >= 0 else None,
        "held_out_kl": state.best_kl if state.best_update >= 0 else None,
        "episodes": rows[-1]["episode"] if rows else 0,
        "ppo_seconds": round(state.seconds, 1),
        "score_first": mean("objective/scores", rows[:ends]),
        "score_last": mean("objective/scores", rows[-ends:]),
        "kl_last": mean("objective/kl", rows[-ends:]),
        "response_length_first": mean("val/response_length", rows[:ends]),
        "response_length_last": mean("val/response_length", rows[-ends:]),
    }
