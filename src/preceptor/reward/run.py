"""The reward stage: a dataset artifact goes in, a published reward model artifact comes out."""

from __future__ import annotations

from preceptor.errors import NotFoundError
from preceptor.reward.build import build_reward_model, headline
from preceptor.reward.config import RewardConfig
from preceptor.stage import StageContext, StageResult


def run(config: RewardConfig, context: StageContext) -> StageResult:
    """Train a reward model and publish it, with the dataset as its parent where that is an artifact."""
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
        build.metadata.update(metrics, base_model=config.base_model, seed=config.seed)
        build.parents.extend(_parents(config.dataset, context))
    return StageResult(summary=summary(report), artifact_id=build.artifact.id, metrics=dict(metrics))


def summary(report: dict[str, object]) -> str:
    """One sentence for a person."""
    numbers = headline(report)
    return (
        f"The reward model ({numbers['mode']}) is right on {_percent(numbers['accuracy'])} of "
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
