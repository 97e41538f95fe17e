"""A candidate, a baseline, a reward model and a dataset in; a report artifact for the release gates out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.artifacts.lineage import record_artifact
from preceptor.db.engine import session_scope
from preceptor.errors import ModelError, RunCanceled
from preceptor.evaluate import safety
from preceptor.evaluate.answers import Answer, LazyPolicy, Sampling, answers_of
from preceptor.evaluate.compare import ScorePair, compare_answers, finite
from preceptor.evaluate.config import EvaluateConfig
from preceptor.evaluate.divergence import log_ratios, summarize
from preceptor.evaluate.inputs import Judge, held_out_prompts, pairs_of, ratings_judge
from preceptor.evaluate.page import render_report
from preceptor.evaluate.reward_model import accuracy_report
from preceptor.modeling.digest import model_digest
from preceptor.modeling.resolve import resolve_model
from preceptor.stage import StageContext, StageResult

_PHASES = ("candidate answers", "baseline answers", "safety", "distance", "judging", "reward model")


def run(config: EvaluateConfig, context: StageContext, *, judge: Judge | None = None) -> StageResult:
    """Compare and report. `judge` scores answers instead of the reward model or the configured ratings.

    Raises:
        DataError: too few held-out prompts, or answers without a rating.
        ModelError: a model is missing or of another kind.
        RunCanceled: the run was asked to stop between two phases.
    """
    dataset = context.store.locate(config.dataset)
    dataset = dataset.parent if dataset.is_file() else dataset
    prompts = held_out_prompts(
        dataset, Path(config.prompts) if config.prompts else None, limit=config.n_prompts, seed=config.seed
    )
    named_baseline = config.baseline or context.settings.policy_model
    candidate, baseline = _policy(config.policy, config, context), _policy(named_baseline, config, context)
    cache = context.settings.home / "cache" / "answers"
    sampling = Sampling(config.samples_per_prompt, config.max_new_tokens, config.temperature, config.seed, config.dtype)
    options: dict[str, Any] = {"cache": cache, "batch_size": config.batch_size}
    report: dict[str, Any] = {
        "policy": config.policy,
        "policy_digest": candidate.digest,
        "baseline": named_baseline,
        "baseline_digest": baseline.digest,
        "reward_model_artifact": config.reward_model,
        "dataset": config.dataset,
        "n_prompts": len(prompts),
        "sampling": asdict(sampling),
        "seed": config.seed,
    }

    _phase(context, 0)
    ours = _flat(answers_of(candidate, prompts, sampling, **options))
    _phase(context, 1)
    theirs = _flat(answers_of(baseline, prompts, sampling, **options))
    asked = [prompt for prompt in prompts for _ in range(sampling.n)]
    _phase(context, 2)
    if config.measure_safety:
        report["safety"] = _safety(candidate, baseline, config, options)
    _phase(context, 3)
    if config.measure_kl:
        report["kl"] = _distance(candidate, baseline, asked, ours, config.temperature)
    _phase(context, 4)
    from preceptor.modeling.reward_model import load_scorer

    scorer = load_scorer(context.store.locate(config.reward_model))
    rewarded = _scores(scorer.score, asked, ours, theirs)
    chosen_judge = judge or (ratings_judge(Path(config.ratings)) if config.ratings else None)
    report["judge"] = "given" if judge else "ratings" if config.ratings else "reward_model"
    compared, rows = compare_answers(
        asked,
        ours,
        theirs,
        judged=_scores(chosen_judge, asked, ours, theirs) if chosen_judge else rewarded,
        rewarded=rewarded,
        tie_margin=config.tie_margin,
        seed=config.seed,
    )
    report.update(compared)
    _phase(context, 5)
    test = pairs_of(dataset, "test")
    questions = [pair["prompt"] for pair in test]
    report["reward_model"] = accuracy_report(
        scorer.score(questions, [pair["chosen"] for pair in test]) if test else [],
        scorer.score(questions, [pair["rejected"] for pair in test]) if test else [],
        pairs=test,
        train_pairs=pairs_of(dataset, "train"),
        seed=config.seed,
    )
    return _publish(config, context, finite(report), rows)


def _phase(context: StageContext, number: int) -> None:
    if context.is_canceled():
        raise RunCanceled(f"The evaluation was stopped before: {_PHASES[number]}.")
    context.progress(number, len(_PHASES), {"phase": _PHASES[number]})


def _policy(named: str, config: EvaluateConfig, context: StageContext) -> LazyPolicy:
    folder = context.store.path(named) if named.startswith("policy-") else None
    if folder is None or not folder.is_dir():
        folder = resolve_model(named, models_dir=context.settings.models_dir)
    digest = model_digest(named, store=context.store, models_dir=context.settings.models_dir)
    return LazyPolicy(folder, digest, config.dtype, context.settings.models_dir)


def _safety(
    candidate: LazyPolicy, baseline: LazyPolicy, config: EvaluateConfig, options: dict[str, Any]
) -> dict[str, Any]:
    red_lines = safety.load_prompts()
    greedy = Sampling(1, config.max_new_tokens, 0.0, config.seed, config.dtype)
    texts = [prompt.prompt for prompt in red_lines]
    ours, theirs = (
        [answer.text for answer in _flat(answers_of(policy, texts, greedy, **options))]
        for policy in (candidate, baseline)
    )
    return safety.compare(red_lines, ours, theirs)


def _scores(judge: Judge, prompts: list[str], ours: list[Answer], theirs: list[Answer]) -> ScorePair:
    first, second = (
        np.asarray(judge(prompts, [answer.text for answer in side]), dtype=np.float64) for side in (ours, theirs)
    )
    return first, second


def _distance(
    candidate: LazyPolicy, baseline: LazyPolicy, prompts: list[str], answers: list[Answer], temperature: float
) -> dict[str, Any]:
    if temperature == 0:
        return {"not_measured": "the likeliest answers are no samples; set a temperature above 0"}
    try:
        ratios = log_ratios(candidate.load(), baseline.load(), prompts, answers, temperature=temperature)
    except ModelError as error:
        return {"not_measured": error.message}
    return dict(summarize(ratios))


def _flat(answers: list[list[Answer]]) -> list[Answer]:
    return [answer for row in answers for answer in row]


def _publish(
    config: EvaluateConfig, context: StageContext, report: dict[str, Any], rows: list[dict[str, Any]]
) -> StageResult:
    with context.store.building("report") as build:
        (build.path / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True))
        (build.path / "answers.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        (build.path / "report.html").write_text(render_report(report, rows), encoding="utf-8")
        references = (config.policy, config.reward_model, config.dataset, config.baseline)
        build.parents.extend(ref for ref in references if ref is not None and _is_artifact(ref, context))
        build.metadata.update(policy=config.policy, judge=report["judge"], win_rate=report["win_rate"]["estimate"])
    with session_scope(context.engine) as session:
        record_artifact(session, build.artifact, run_id=context.run_id)
    context.progress(len(_PHASES), len(_PHASES), {"phase": "done"})
    won, kl = report["win_rate"], report.get("kl", {})
    return StageResult(
        summary=(
            f"The candidate wins {won['estimate']:.2f} of {report['n_prompts']} held-out prompts "
            f"(95 % {won['low']:.2f} to {won['high']:.2f}, judged by {report['judge'].replace('_', ' ')})."
        ),
        artifact_id=build.artifact.id,
        metrics={
            "win_rate": won["estimate"],
            "win_rate_low": won["low"],
            "win_rate_high": won["high"],
            "length_controlled_win_rate": report["length_controlled_win_rate"]["estimate"],
            "reward_win_rate": report["reward_win_rate"]["estimate"],
            "length_ratio": report["quality"]["length_ratio"],
            "kl": kl.get("sequence_k1"),
            "new_critical": report.get("safety", {}).get("new_critical"),
            "reward_accuracy": report["reward_model"]["accuracy"],
            "reward_margin_over_length": report["reward_model"]["margin_over_length"],
            "n_prompts": report["n_prompts"],
            "judge": report["judge"],
        },
    )


def _is_artifact(reference: str, context: StageContext) -> bool:
    kind, _, digest = reference.rpartition("-")
    return kind.isidentifier() and digest.isalnum() and context.store.path(reference).is_dir()
