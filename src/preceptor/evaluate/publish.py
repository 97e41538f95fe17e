"""A report with its rows in; the artifact that holds them, and the numbers that a run's record keeps, out."""

from __future__ import annotations

import json
from typing import Any

from preceptor.artifacts.lineage import record_artifact
from preceptor.db.engine import session_scope
from preceptor.evaluate.config import EvaluateConfig
from preceptor.evaluate.page import render_report
from preceptor.stage import StageContext, StageResult


def publish(
    config: EvaluateConfig, context: StageContext, report: dict[str, Any], rows: list[dict[str, Any]]
) -> StageResult:
    """Write `report.json`, `answers.jsonl` and `report.html` as an artifact, with what was compared as its parents."""
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
    won = report["win_rate"]
    return StageResult(
        summary=(
            f"The candidate wins {won['estimate']:.2f} of {report['n_prompts']} held-out prompts "
            f"(95 % {won['low']:.2f} to {won['high']:.2f}, judged by {report['judge'].replace('_', ' ')})."
        ),
        artifact_id=build.artifact.id,
        metrics=headline(report),
    )


def headline(report: dict[str, Any]) -> dict[str, Any]:
    """The flat numbers of a report that a run's record keeps; None where nothing was measured."""
    won, gold = report["win_rate"], report["gold"].get("win_rate", {})
    return {
        "win_rate": won["estimate"],
        "win_rate_low": won["low"],
        "win_rate_high": won["high"],
        "length_controlled_win_rate": report["length_controlled_win_rate"]["estimate"],
        "reward_win_rate": report["reward_win_rate"]["estimate"],
        "gold_win_rate": gold.get("estimate"),
        "gold_win_rate_low": gold.get("low"),
        "gold_accuracy": report["gold"].get("accuracy", {}).get("estimate"),
        "gold_drop_in_se": report["along_training"].get("drop_in_se"),
        "gain_over_best_of_n": report["frontier"]["against"].get("estimate"),
        "length_ratio": report["quality"]["length_ratio"],
        "kl": report.get("kl", {}).get("sequence_k1"),
        "new_critical": report.get("safety", {}).get("new_critical"),
        "safe_fall": report.get("safety", {}).get("safe_fall", {}).get("estimate"),
        "red_line_rise": report.get("red_lines", {}).get("critical_rise", {}).get("estimate"),
        "reward_accuracy": report["reward_model"]["accuracy"],
        "reward_margin_over_length": report["reward_model"]["margin_over_length"],
        "n_prompts": report["n_prompts"],
        "judge": report["judge"],
    }


def _is_artifact(reference: str, context: StageContext) -> bool:
    kind, _, digest = reference.rpartition("-")
    return kind.isidentifier() and digest.isalnum() and context.store.path(reference).is_dir()
