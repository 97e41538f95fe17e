"""The results of the demo's steps in, one self-contained `report.html` out: what was done, and whether it worked."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from jinja2 import Environment, PackageLoader, select_autoescape

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import judgements
from preceptor.demo.config import AGENT, DemoConfig
from preceptor.demo.summary import stage_rows
from preceptor.files.atomic import write_atomic
from preceptor.plots import STYLESHEET
from preceptor.plots.svg import WIDE, Interval, Series, bars, intervals, lines


def write_report(
    path: Path,
    results: dict[str, dict[str, Any]],
    *,
    config: DemoConfig,
    engine: sa.Engine,
    store: ArtifactStore,
    seconds: float,
) -> None:
    """Write the report; it holds no script, loads nothing, and reads in light and dark.

    Raises:
        StorageError: the disk is full or the folder is not writable.
    """
    pages = Environment(
        loader=PackageLoader("preceptor.demo", "templates"), autoescape=select_autoescape(), trim_blocks=True
    )
    stages = results["round"]["stages"]
    verdict = results["held out"]["verdict"]
    history = _read_metrics(store, stages["policy"]["artifact_id"])
    document = pages.get_template("report.html").render(
        style=_styles(),
        agent=AGENT,
        config=config,
        seconds=seconds,
        rows=stage_rows(results),
        verdict=verdict,
        decision=results["experiment"]["decision"],
        plots=_plots(results, history, _ratings(engine)),
        examples=_examples(results["held out"]["pairs"]),
        reward=stages["reward"]["metrics"],
        evaluate=stages["evaluate"]["metrics"] if "evaluate" in stages else {},
    )
    write_atomic(path, document)


def _styles() -> str:
    page = (files("preceptor.server") / "static" / "preceptor.css").read_text(encoding="utf-8")
    return page + STYLESHEET.read_text(encoding="utf-8")


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


def _plots(results: dict[str, dict[str, Any]], history: list[dict[str, Any]], ratings: list[int]) -> dict[str, str]:
    steps = [float(index + 1) for index, row in enumerate(history) if "objective/scores" in row]
    updates = [row for row in history if "objective/scores" in row]
    reward = results["round"]["stages"]["reward"]["metrics"]
    verdict = results["held out"]["verdict"]["win_rate"]
    rows = [Interval("Panel's rubric, held out", verdict["point"], verdict["low"], verdict["high"])]
    decision = results["experiment"]["decision"].get("evidence")
    if decision and decision["duels"]["win_rate"]["estimate"] is not None:
        duel = decision["duels"]["win_rate"]
        rows.append(Interval("Blinded duels", duel["estimate"], duel["low"], duel["high"], second=True))
    return {
        "score": lines(
            "Score of the roll-outs by update",
            [Series("score", steps, [row["objective/scores"] for row in updates])],
            x_label="update",
        ),
        "kl": lines(
            "KL to the reference by update",
            [Series("KL", steps, [row["objective/kl"] for row in updates])],
            x_label="update, nats an answer",
        ),
        "ratings": bars("Ratings", ["1", "2", "3", "4", "5"], ratings),
        "accuracy": intervals("Held-out accuracy of the reward model", _accuracy_rows(reward), reference=0.5),
        "win": intervals("Win rate against the base model", rows, reference=0.5, width=WIDE),
    }


def _accuracy_rows(reward: dict[str, Any]) -> list[Interval]:
    names = (
        ("accuracy", "Reward model"),
        ("length_only_accuracy", "Longer answer wins"),
        ("untrained_accuracy", "Untrained encoder"),
    )
    rows = []
    for key, label in names:
        point, low, high = (reward.get(f"{key}{suffix}") for suffix in ("", "_low", "_high"))
        if point is not None:
            bounds = (low if low is not None else point, high if high is not None else point)
            rows.append(Interval(label, float(point), float(bounds[0]), float(bounds[1]), second=key != "accuracy"))
    return rows


def _examples(pairs: list[dict[str, Any]], count: int = 4) -> list[dict[str, str]]:
    from preceptor.demo.cases import load_cases

    prompts = {case.id: case.prompt for case in load_cases(heldout=True)}
    return [
        {"prompt": prompts[row["case"]], "before": row["baseline"], "after": row["candidate"]} for row in pairs[:count]
    ]
