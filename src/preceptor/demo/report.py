"""The results of the demo's steps in, one self-contained `report.html` out: what was done, and whether it worked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from markupsafe import Markup

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import judgements
from preceptor.demo.config import AGENT, DemoConfig
from preceptor.demo.summary import stage_rows
from preceptor.demo.training import GATES
from preceptor.files.atomic import write_atomic
from preceptor.gates import Gate, GateThresholds, check_gates
from preceptor.plots.report import render_report
from preceptor.plots.svg import Interval, Series, bars, intervals, lines


def write_report(
    path: Path, results: dict[str, dict[str, Any]], *, config: DemoConfig, engine: sa.Engine, store: ArtifactStore
) -> None:
    """Write the report; it holds no script, loads nothing, and reads in light and dark.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    stages = results["round"]["stages"]
    held_out = results["held out"]
    history = _read_metrics(store, stages["policy"]["artifact_id"])
    document = render_report(
        "preceptor.demo",
        "report.html",
        agent=AGENT.replace("_", " "),
        config=config,
        minutes=sum(float(step.get("seconds", 0)) for step in results.values()) / 60,
        rows=stage_rows(results),
        verdict=held_out["verdict"],
        decision=results["experiment"]["decision"],
        gates=_gates(store, stages),
        plots=_plots(results, history, _ratings(engine)),
        examples=_examples(held_out["pairs"]),
        candidate=stages["policy"]["artifact_id"],
    )
    write_atomic(path, document)


def _gates(store: ArtifactStore, stages: dict[str, Any]) -> list[Gate]:
    """The release gates with this demo's thresholds; none when nothing was evaluated."""
    artifact_id = stages.get("evaluate", {}).get("artifact_id")
    if artifact_id is None:
        return []
    report = json.loads((store.path(artifact_id) / "report.json").read_text(encoding="utf-8"))
    return check_gates(report, GateThresholds.model_validate(GATES))


def _read_metrics(store: ArtifactStore, artifact_id: str) -> list[dict[str, Any]]:
    text = (store.path(artifact_id) / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _ratings(engine: sa.Engine) -> list[int]:
    columns = judgements.c
    counted = sa.select(columns.rating, sa.func.count()).where(
        columns.rating.is_not(None), columns.withdrawn_at.is_(None), columns.agent_name == AGENT
    )
    with session_scope(engine) as session:
        found: dict[int, int] = dict(session.execute(counted.group_by(columns.rating)).all())
    return [found.get(star, 0) for star in range(1, 6)]


def _plots(results: dict[str, dict[str, Any]], history: list[dict[str, Any]], ratings: list[int]) -> dict[str, Markup]:
    steps = [float(index + 1) for index, row in enumerate(history) if "objective/scores" in row]
    updates = [row for row in history if "objective/scores" in row]
    reward = results["round"]["stages"]["reward"]["metrics"]
    verdict = results["held out"]["verdict"]["win_rate"]
    rows = [Interval("Panel's rubric, held out", verdict["point"], verdict["low"], verdict["high"])]
    decision = results["experiment"]["decision"].get("evidence")
    if decision and decision["duels"]["win_rate"]["estimate"] is not None:
        duel = decision["duels"]["win_rate"]
        rows.append(Interval("Blinded duels", duel["estimate"], duel["low"], duel["high"], second=True))
    drawn = {
        "score": lines(
            "Score of the roll-outs by update",
            [Series("score", steps, [row["objective/scores"] for row in updates])],
            x_label="PPO update",
            y_label="score",
        ),
        "kl": lines(
            "KL to the reference by update",
            [Series("KL", steps, [row["objective/kl"] for row in updates])],
            x_label="PPO update",
            y_label="nats an answer",
        ),
        "ratings": bars("Ratings by stars", ["1", "2", "3", "4", "5"], ratings, x_label="stars"),
        "accuracy": intervals("Reward model, held out", _accuracy_rows(reward), reference=0.5, percent=True),
        "win": intervals("Win rate against the base model", rows, reference=0.5, percent=True),
    }
    return {name: Markup(plot) for name, plot in drawn.items()}  # noqa: S704 - plots escape their labels


def _accuracy_rows(reward: dict[str, Any]) -> list[Interval]:
    names = (
        ("accuracy", "Reward model"),
        ("length_only_accuracy", "Answer length alone"),
        ("untrained_accuracy", "Untrained encoder"),
    )
    rows = []
    for key, label in names:
        point, low, high = (reward.get(f"{key}{suffix}") for suffix in ("", "_low", "_high"))
        if point is not None:
            bounds = [float(bound) if bound is not None else math.nan for bound in (low, high)]
            rows.append(Interval(label, float(point), bounds[0], bounds[1], second=key != "accuracy"))
    return rows


def _examples(pairs: list[dict[str, Any]], count: int = 4) -> list[dict[str, str]]:
    from preceptor.demo.cases import load_cases

    prompts = {case.id: case.prompt for case in load_cases(heldout=True)}
    return [
        {"prompt": prompts[row["case"]], "before": row["baseline"], "after": row["candidate"]} for row in pairs[:count]
    ]
