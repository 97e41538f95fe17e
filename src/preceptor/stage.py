"""What every stage's `run` takes and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from preceptor.artifacts.store import ArtifactStore
from preceptor.settings import Settings

Progress = Callable[[int, int, dict[str, Any]], None]


def _no_progress(done: int, total: int, metrics: dict[str, Any]) -> None:
    """Report nothing."""


def _never_canceled() -> bool:
    return False


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The field that a config refused first, and why; never the value."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "these settings together"
    return field, first["msg"].removeprefix("Value error, ").replace("Input should", "it should")


@dataclass(frozen=True)
class StageContext:
    """Where a stage reads and writes, and how it reports. `progress(done, total, metrics)` is cheap to call."""

    settings: Settings
    engine: sa.Engine
    store: ArtifactStore
    run_id: str | None = None
    progress: Progress = _no_progress
    is_canceled: Callable[[], bool] = _never_canceled


@dataclass(frozen=True)
class StageResult:
    """What a stage made: an artifact where it makes one, numbers, and one sentence for a person."""

    summary: str
    artifact_id: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
