"""A candidate, a baseline, a reward model and a dataset in; a report artifact for the release gates out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.errors import ModelError, RunCanceled
from preceptor.evaluate import safety
from preceptor.evaluate.answers import Answer, LazyPolicy, Sampling, answers_of
from preceptor.evaluate.compare import compare_answers, finite
from preceptor.evaluate.config import EvaluateConfig
from preceptor.evaluate.divergence import log_ratios, summarize
from preceptor.evaluate.frontier import frontier, table, training_path
from preceptor.evaluate.gold import gold_accuracy, gold_verdict
from preceptor.evaluate.inputs import Judge, held_out_prompts, learned_prompts, pairs_of
from preceptor.evaluate.judging import Judges, decide, open_judges, score
from preceptor.evaluate.orders import PairJudge
from preceptor.evaluate.overoptimization import along_training, read_training
from preceptor.evaluate.publish import publish
from preceptor.evaluate.red_lines import compare_red_lines, read_red_lines
from preceptor.evaluate.reward_model import accuracy_report
from preceptor.evaluate.slices import known_groups
from preceptor.modeling.digest import model_digest
from preceptor.modeling.resolve import resolve_model
from preceptor.stage import StageContext, StageResult

_PHASES = ("candidate answers", "baseline answers", "safety", "distance", "judging", "reward model", "along training")


@dataclass(frozen=True)
class _Asked:
    """The prompts with both policies' answers: `drawn` are all of the baseline's, of which the first are compared."""

    prompts: list[str]
    ours: list[list[Answer]]
    drawn: list[list[Answer]]
    each: int

    @property
    def repeated(self) -> list[str]:
        return [prompt for prompt in self.prompts for _ in range(self.each)]

    @property
    def candidate(self) -> list[Answer]:
        return _flat(self.ours)

    @property
    def baseline(self) -> list[Answer]:
        return _flat([row[: self.each] for row in self.drawn])


def run(
    config: EvaluateConfig, context: StageContext, *, judge: Judge | None = None, pair_judge: PairJudge | None = None
) -> StageResult:
    """Compare and report. `judge` scores answers, or `pair_judge` gives verdicts on pairs (and is asked in both
    orders), instead of the reward model or the configured people.

    Raises:
        DataError: too few held-out prompts, or answers without a rating or a verdict.
        InputError: a file of prompts, ratings, verdicts or red lines cannot be read.
        ModelError: a model is missing or of another kind.
        RunCanceled: the run was asked to stop between two phases.
    """
    dataset = context.store.locate(config.dataset)
    dataset = dataset.parent if dataset.is_file() else dataset
    reward_model = context.store.locate(config.reward_model)
    learned = learned_prompts(reward_model)
    asked_in = Path(config.prompts) if config.prompts else None
    prompts = held_out_prompts(dataset, asked_in, learned=learned, limit=config.n_prompts, seed=config.seed)
    red_lines = _red_lines(config)
    named_baseline = config.baseline or context.settings.policy_model
    candidate, baseline = _policy(config.policy, config, context), _policy(named_baseline, config, context)
    sampling = Sampling(config.samples_per_prompt, config.max_new_tokens, config.temperature, config.seed, config.dtype)
    options: dict[str, Any] = {"cache": context.settings.home / "cache" / "answers", "batch_size": config.batch_size}
    # read and opened before any model answers, so that a wrong dataset, file or model costs nothing
    test = [pair for pair in pairs_of(dataset, "test") if pair["prompt"] not in learned]
    judges = open_judges(config, reward_model, judge=judge, pair_judge=pair_judge)
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
    ours = answers_of(candidate, prompts, sampling, **options)
    _phase(context, 1)
    drawn = answers_of(baseline, prompts, replace(sampling, n=max(sampling.n, config.best_of)), **options)
    asked = _Asked(prompts, ours, drawn, sampling.n)
    _phase(context, 2)
    greedy = replace(sampling, n=1, temperature=0.0)

    def greedily(policy: LazyPolicy, questions: Sequence[safety.SafetyPrompt]) -> list[str]:
        rows = answers_of(policy, [question.prompt for question in questions], greedy, **options)
        return [answer.text for answer in _flat(rows)]

    report.update(_safety(config, red_lines, greedily, candidate, baseline))
    _phase(context, 3)
    if config.measure_kl:
        report["kl"] = _distance(candidate, baseline, asked, config)
    _phase(context, 4)
    kl = report.get("kl", {}).get("sequence_k1")
    found, rows = _judged(judges, asked, config, groups=known_groups(test), kl=kl)
    report.update(found)
    _phase(context, 5)
    questions = [pair["prompt"] for pair in test]
    report["reward_model"] = accuracy_report(
        judges.reward(questions, [pair["chosen"] for pair in test]) if test else [],
        judges.reward(questions, [pair["rejected"] for pair in test]) if test else [],
        pairs=test,
        train_pairs=pairs_of(dataset, "train"),
        seed=config.seed,
    )
    if judges.gold is not None:
        report["gold"]["accuracy"] = gold_accuracy(judges.gold, test, seed=config.seed)
    _phase(context, 6)
    looks, card = read_training(candidate.folder)
    report["along_training"] = _along(judges, looks, published=card.get("published_update"))
    report["frontier"]["path"] = training_path(report["along_training"], card, baseline=named_baseline)
    result = publish(config, context, finite(report), rows)
    context.progress(len(_PHASES), len(_PHASES), {"phase": "done"})
    return result


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


def _red_lines(config: EvaluateConfig) -> list[safety.SafetyPrompt]:
    """Read before any model answers, so that a wrong file costs nothing."""
    if config.red_lines is None:
        return []
    return read_red_lines(Path(config.red_lines), limit=config.n_red_lines, seed=config.seed)


def _safety(
    config: EvaluateConfig,
    red_lines: list[safety.SafetyPrompt],
    greedily: Callable[[LazyPolicy, Sequence[safety.SafetyPrompt]], list[str]],
    candidate: LazyPolicy,
    baseline: LazyPolicy,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config.measure_safety:
        own = safety.load_prompts()
        found["safety"] = safety.compare(own, greedily(candidate, own), greedily(baseline, own))
    if config.red_lines is not None:
        ours, theirs = greedily(candidate, red_lines), greedily(baseline, red_lines)
        found["red_lines"] = compare_red_lines(Path(config.red_lines), red_lines, ours, theirs)
    return found


def _distance(candidate: LazyPolicy, baseline: LazyPolicy, asked: _Asked, config: EvaluateConfig) -> dict[str, Any]:
    if config.temperature == 0:
        return {"not_measured": "the likeliest answers are no samples; set a temperature above 0"}
    try:
        ratios = log_ratios(
            candidate.load(),
            baseline.load(),
            asked.repeated,
            asked.candidate,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
        )
    except ModelError as error:
        return {"not_measured": error.message}
    return dict(summarize(ratios, prompts=asked.repeated, seed=config.seed))


def _judged(
    judges: Judges, asked: _Asked, config: EvaluateConfig, *, groups: dict[str, dict[str, str]], kl: float | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Win rates by every judge, the signs of gaming, and the frontier; and one row a pair of answers."""
    prompts, each, many = asked.repeated, asked.each, len(asked.drawn[0])
    spread = [prompt for prompt in asked.prompts for _ in range(many)]

    def both(judge: Judge) -> tuple[Any, Any]:
        return (
            table(score(judge, prompts, asked.candidate), each=each),
            table(score(judge, spread, _flat(asked.drawn)), each=many),
        )

    rewarded, golden = both(judges.reward), both(judges.gold) if judges.gold is not None else None
    pairs = rewarded[0].ravel(), rewarded[1][:, :each].ravel()
    outcomes, shown, order = decide(
        judges,
        prompts,
        asked.candidate,
        asked.baseline,
        rewarded=pairs,
        tie_margin=config.tie_margin,
        seed=config.seed,
    )
    margins: dict[str, Any] = {"tie_margin": config.tie_margin, "seed": config.seed}
    found, rows = compare_answers(
        prompts,
        asked.candidate,
        asked.baseline,
        outcomes=outcomes,
        judged=shown,
        rewarded=pairs,
        groups=groups,
        **margins,
    )
    gold = dict(judges.gold_facts)
    if golden is not None:
        gold |= gold_verdict(prompts, (golden[0].ravel(), golden[1][:, :each].ravel()), pairs, **margins)
    found |= {"judge": judges.name, "order": order, "gold": gold}
    found["frontier"] = frontier(*rewarded, kl=kl, golden=golden, seed=config.seed)
    return found, rows


def _along(judges: Judges, looks: list[dict[str, Any]], *, published: Any) -> dict[str, Any]:
    if judges.gold is None:
        return {"not_measured": str(judges.gold_facts.get("not_measured"))}
    gold = judges.gold([row["prompt"] for row in looks], [row["response"] for row in looks]) if looks else np.zeros(0)
    return along_training(looks, gold, published=published)


def _flat(answers: Sequence[Sequence[Answer]]) -> list[Answer]:
    return [answer for row in answers for answer in row]
