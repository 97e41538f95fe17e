"""The reward stage: a dataset goes in, a published reward model comes out; also `train_reward_model`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from preceptor.errors import ConfigError, InputError, NotFoundError
from preceptor.files.atomic import atomic_folder
from preceptor.modeling.reward_model import CARD_FILE, Scorer, load_scorer
from preceptor.reward.build import build_reward_model, headline
from preceptor.reward.config import SEED_BASE_MODEL, RewardConfig
from preceptor.reward.parts import Progress
from preceptor.stage import StageContext, StageResult, first_problem


def run(config: RewardConfig, context: StageContext) -> StageResult:
    """Train a reward model and publish it, with the dataset as its parent where that is an artifact."""
    config = config.model_copy(update={"base_model": config.base_model or context.settings.reward_model})
    path = context.store.locate(config.dataset)
    home = context.settings.home
    with context.store.building("reward_model") as build:
        report = build_reward_model(
            path,
            build.path,
            config,
            models_dir=context.settings.models_dir,
            cache_dir=home / "cache" / "embeddings",
            work_dir=home / "work",
            progress=context.progress,
            is_canceled=context.is_canceled,
        )
        metrics = headline(report)
        build.metadata.update(metrics, base_model=config.base_name, seed=config.seed)
        build.parents.extend(_parents(config.dataset, context))
    return StageResult(summary=summary(report), artifact_id=build.artifact.id, metrics=dict(metrics))


def train_reward_model(
    base_model: str = SEED_BASE_MODEL,
    dataset_path: str = "rlhf/data/preferences.jsonl",
    output_dir: str = "rlhf/models/reward_model",
    *,
    epochs: int = 3,
    batch_size: int = 8,
    models_dir: Path | None = None,
    progress: Progress | None = None,
    is_canceled: Callable[[], bool] = lambda: False,
    **config: Any,
) -> Scorer:
    """Train a reward model on a JSONL file of pairs (or a dataset's folder), write it to `output_dir`, return it.

    `config` takes any field of RewardConfig, `mode` above all. In full mode, checkpoints lie in
    `<output_dir>.training` while it runs, and the same call continues an interrupted run. `output_dir` is replaced
    in one step, when it is a reward model or does not exist. Raises PreceptorError, with one sentence.
    """
    try:
        settings = RewardConfig(
            dataset=str(dataset_path), base_model=base_model, epochs=epochs, batch_size=batch_size, **config
        )
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConfigError(f"The reward model cannot be trained with {field}: {reason}.") from None
    target = Path(output_dir)
    if target.exists() and not (target / CARD_FILE).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{output_dir} exists and is not a reward model: name a new folder.")
    work_dir = target.with_name(target.name + ".training")
    with atomic_folder(target) as building:
        build_reward_model(
            Path(dataset_path),
            building,
            settings,
            models_dir=models_dir,
            work_dir=work_dir,
            progress=progress,
            is_canceled=is_canceled,
        )
    shutil.rmtree(work_dir, ignore_errors=True)
    return load_scorer(target)


def summary(report: dict[str, Any]) -> str:
    """One sentence for a person."""
    numbers = headline(report)
    kind = "a head on a frozen encoder, fitted without epochs" if numbers["mode"] == "frozen" else "full"
    return (
        f"The reward model ({kind}) is right on {_percent(numbers['accuracy'])} of "
        f"{numbers['test_pairs']} held-out pairs ({_percent(numbers['accuracy_low'])} to "
        f"{_percent(numbers['accuracy_high'])}); length alone on {_percent(numbers['length_only_accuracy'])}, "
        f"the untrained encoder on {_percent(numbers['untrained_accuracy'])}."
    )


def _percent(value: float | int | str | None) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "an unknown share"


def _parents(dataset: str, context: StageContext) -> list[str]:
    try:
        return [context.store.open(dataset).id]
    except NotFoundError:
        return []  # a folder or a file outside the store has no lineage
