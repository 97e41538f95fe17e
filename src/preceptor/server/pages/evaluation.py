"""A round in; what its evaluation found, and the gates as its release applied them, out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import NotFoundError, StorageError
from preceptor.gates import Gate, GateThresholds, check_gates
from preceptor.jobs.control import RoundView
from preceptor.settings import Settings


@dataclass(frozen=True)
class Evaluation:
    """A report with its answers; `thresholds` is None while no release has applied any."""

    report: Mapping[str, Any]
    rows: list[dict[str, Any]]
    thresholds: GateThresholds | None

    @property
    def gates(self) -> list[Gate]:
        return check_gates(self.report, self.thresholds) if self.thresholds is not None else []


def read_evaluation(view: RoundView, settings: Settings) -> Evaluation | None:
    """None when the round has evaluated nothing, or its report is no longer kept."""
    runs = {run.stage: run for run in view.runs}
    evaluated = runs.get("evaluate")
    if evaluated is None or evaluated.artifact_id is None:
        return None
    try:
        folder = ArtifactStore(settings.artifacts_dir).open(evaluated.artifact_id).path
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        lines = (folder / "answers.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    except (NotFoundError, StorageError, OSError, ValueError):
        return None
    return Evaluation(report, rows, _thresholds(runs["release"].config) if "release" in runs else None)


def _thresholds(config: Mapping[str, Any]) -> GateThresholds | None:
    try:
        return GateThresholds.model_validate(config.get("gates") or {})
    except ValidationError:  # written by another version
        return None
