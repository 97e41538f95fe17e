"""The policy stage: a reward model and a base model go in, a published policy comes out; also `train_with_ppo`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from preceptor.artifacts.store import Artifact
from preceptor.errors import ConfigError, InputError, NotFoundError
from preceptor.files.atomic import atomic_folder
from preceptor.modeling.resolve import resolve_model
from preceptor.policy.build import CARD_FILE, build_policy
from preceptor.policy.config import PolicyConfig
from preceptor.policy.ppo import Progress
from preceptor.policy.processes import join_processes, process_count
from preceptor.policy.work import held, work_folder
from preceptor.stage import StageContext, StageResult, first_problem


def run(config: PolicyConfig, context: StageContext) -> StageResult:
    """Improve the base model and publish the policy, with the reward model as its parent.

    An interrupted run goes on where its last checkpoint stands: that of a round when it is tried again, any other one
    when a run of the same settings and models starts.
    """
    if process_count() > 1:
        raise ConfigError("Under torchrun use `-m app.rlhf.train_ppo` from backend/: a run has one record.")
    reward = context.store.locate(config.reward_model)
    base = config.base_model or context.settings.policy_model
    base_artifact, reward_artifact = _artifact(base, context), _artifact(config.reward_model, context)
    start = str(base_artifact.path) if base_artifact else base
    folder = resolve_model(start, models_dir=context.settings.models_dir)
    preferences = _preferences(reward_artifact, context)
    with work_folder(config, context, base=folder, reward=reward, preferences=preferences) as work:
        with context.store.building("policy") as build:
            metrics = _builder(config)(
                start,
                reward,
                build.path,
                config,
                work_dir=work,
                preferences=preferences,
                models_dir=context.settings.models_dir,
                progress=context.progress,
                is_canceled=context.is_canceled,
            )
            build.metadata.update(
                algorithm=config.algorithm,
                base_model=base,
                seed=config.seed,
                mode=config.mode,
                updates=metrics["updates"],
            )
            build.parents.extend(artifact.id for artifact in (reward_artifact, base_artifact) if artifact)
        shutil.rmtree(work)  # no sooner: what fails while it is published would have to be trained again
    return StageResult(summary=summary(metrics), artifact_id=build.artifact.id, metrics=metrics)


def train_with_ppo(
    base_model: str = "gpt2",
    reward_model_path: str = "rlhf/models/reward_model",
    output_dir: str = "rlhf/models/ppo_model",
    *,
    progress: Progress | None = None,
    is_canceled: Callable[[], bool] = lambda: False,
    **config: Any,
) -> dict[str, Any]:
    """Improve `base_model` with the reward model in a folder and write the policy to `output_dir`.

    `config` takes any field of PolicyConfig. While it runs, checkpoints lie in `<output_dir>.training`; the same
    call continues an interrupted run, and is refused while that goes on. Under torchrun every process makes the same
    call, and the first one writes. Returns the run's metrics, in other processes none. Raises PreceptorError, with one
    sentence.
    """
    try:
        settings = PolicyConfig(base_model=base_model, reward_model=reward_model_path, **config)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConfigError(f"PPO cannot use {field}: {reason}.") from None
    reward = Path(reward_model_path)
    if not reward.is_dir():
        raise NotFoundError(f"There is no reward model folder {reward_model_path}: train one first.")
    target = Path(output_dir)
    if target.exists() and not (target / CARD_FILE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{output_dir} exists and is not a trained policy: name a new folder.")
    work = target.with_name(target.name + ".training")
    build = partial(
        _builder(settings),
        base_model,
        reward,
        config=settings,
        work_dir=work,
        progress=progress or _no_progress,
        is_canceled=is_canceled,
    )
    processes = join_processes(settings.device)
    if processes.count > 1:
        if settings.algorithm != "ppo":
            raise ConfigError(f"{settings.algorithm} trains in one process: start it without torchrun, or use ppo.")
        build = partial(build, processes=processes)
    if not processes.first:
        with tempfile.TemporaryDirectory() as scratch:
            return build(out=Path(scratch))
    with held(work):
        with atomic_folder(target) as building:
            metrics = build(out=building)
        shutil.rmtree(work)
    return metrics


def summary(metrics: dict[str, Any]) -> str:
    """One sentence for a person."""
    if "algorithm" in metrics:
        from preceptor.policy.trl_state import summary_of

        return summary_of(metrics)
    if not metrics["updates"]:
        before, after = metrics["warm_start/score_before"], metrics["warm_start/score_after"]
        return f"A supervised warm start alone: the reward model's mean score went from {before:.3f} to {after:.3f}."
    first, last, kl = metrics["score_first"], metrics["score_last"], metrics["kl_last"]
    minutes = metrics["ppo_seconds"] / 60
    held = metrics["held_out_score"]
    published = (
        f" Published is the policy after {metrics['published_update']} of them: held-out score {held:.3f} at "
        f"{metrics['held_out_kl']:.1f} nats."
        if held is not None
        else ""
    )
    rollouts = "roll-out" if metrics["updates"] == 1 else "roll-outs"
    return (
        f"PPO took {metrics['updates']} {rollouts} ({metrics['episodes']} answers, {minutes:.1f} minutes): "
        f"the reward model's mean score went from {first:.3f} to {last:.3f} at {kl:.1f} nats of KL an answer; "
        f"answers went from {metrics['response_length_first']:.0f} to {metrics['response_length_last']:.0f} tokens."
        f"{published}"
    )


def _builder(config: PolicyConfig) -> Callable[..., dict[str, Any]]:
    """What trains with the algorithm of the config; TRL is loaded for its own alone."""
    if config.algorithm == "ppo":
        return build_policy
    from preceptor.policy.trl_policy import build_with_trl

    return build_with_trl


def _no_progress(done: int, total: int, metrics: dict[str, Any]) -> None:
    """Report nothing."""


def _artifact(reference: str, context: StageContext) -> Artifact | None:
    try:
        return context.store.open(reference)
    except NotFoundError:
        return None  # a model's name or a folder outside the store has no lineage


def _preferences(reward: Artifact | None, context: StageContext) -> Path | None:
    """The preferences that the reward model was trained on, where it is an artifact."""
    for parent in reward.parents if reward else []:
        path = context.store.path(parent) / "preferences.jsonl"
        if path.is_file():
            return path
    return None
