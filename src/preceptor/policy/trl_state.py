"""The folder of a run under TRL goes in; where it stands, and the numbers that its record keeps, come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preceptor.policy.build import WARM_START_FILE
from preceptor.policy.checkpoint import RunState, best_weights, require_same_settings
from preceptor.policy.config import PolicyConfig
from preceptor.policy.metrics import METRICS_FILE, read_metrics
from preceptor.policy.trl_checkpoint import WHOLE

STATE_FILE = "preceptor_state.json"
START = "start"  # the folder of the model that training starts from, which is also the reference


def resumed(work_dir: Path, settings: dict[str, Any]) -> tuple[Path, RunState] | None:
    """The newest whole checkpoint and where it stands; one without our file was cut off, or its copy was.

    Without the start, whose copy may be cut off too, there is nothing to go on with. Raises ConflictError where it was
    made under other settings.
    """
    if not (any((work_dir / START).glob("model*.safetensors")) and (work_dir / WARM_START_FILE).is_file()):
        return None
    parts = (STATE_FILE, *WHOLE)
    found: list[tuple[int, Path, dict[str, Any]]] = []
    for path in work_dir.glob("checkpoint-*"):
        if all((path / part).is_file() for part in parts) and any(path.glob("model*.safetensors")):
            record = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
            best = record["state"]["best_update"]
            if best < 0 or best_weights(work_dir, best).is_file():
                found.append((int(path.name.rpartition("-")[2]), path, record))
    if not found:
        return None
    _, newest, record = max(found, key=lambda one: one[0])
    require_same_settings(newest, record["settings"], settings)
    return newest, RunState(**record["state"])


def metrics_of(work_dir: Path, state: RunState, config: PolicyConfig) -> dict[str, Any]:
    """The numbers a run's record keeps."""
    rows = read_metrics(work_dir / METRICS_FILE)
    ends = max(1, len(rows) // 10)

    def ends_of(name: str) -> dict[str, float]:
        found = [row[name] for row in rows if name in row]
        short = name.rpartition("/")[2]
        if not found:
            return {}
        return {f"{short}_first": sum(found[:ends]) / ends, f"{short}_last": sum(found[-ends:]) / ends}

    held = [row["held_out/score"] for row in rows if "held_out/score" in row]
    return {
        **json.loads((work_dir / WARM_START_FILE).read_text(encoding="utf-8")),
        "algorithm": config.algorithm,
        "updates": state.update,
        "published_update": state.best_update if state.best_update >= 0 else state.update,
        "held_out_score": state.best_score if state.best_update >= 0 else None,
        "held_out_kl": state.best_kl if state.best_update >= 0 else None,
        "held_out_score_last": held[-1] if held else None,
        "train_seconds": round(state.seconds, 1),
        **ends_of("loss"),
        **ends_of("reward"),
        **ends_of("rewards/margins"),
    }


def summary_of(metrics: dict[str, Any]) -> str:
    """One sentence for a person."""
    updates = "update" if metrics["updates"] == 1 else "updates"
    said = (
        f"{metrics['algorithm'].upper()} took {metrics['updates']} {updates} on {metrics['rows']} rows "
        f"({metrics['train_seconds'] / 60:.1f} minutes)"
    )
    if metrics["held_out_score"] is None:
        return f"{said}."
    return (
        f"{said}; published is the policy after {metrics['published_update']}: held-out score "
        f"{metrics['held_out_score']:.3f} at {metrics['held_out_kl']:.1f} nats of KL an answer."
    )
