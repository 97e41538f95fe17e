"""Records of metrics go in, lines of `metrics.jsonl` (and TensorBoard events, if wanted) come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from preceptor.errors import ConfigError
from preceptor.files.atomic import write_atomic

METRICS_FILE = "metrics.jsonl"
_CLOCK = ("eps",)  # differs between two equal runs


class MetricsLog:
    """Appends one JSON object a roll-out; on resuming, what lies beyond the checkpoint is dropped."""

    def __init__(self, folder: Path, *, resume_at: int, tensorboard: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS_FILE
        kept = [row for row in read_metrics(path) if row.get("update", 0) <= resume_at] if resume_at else []
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept))  # a kill here must lose no row
        self._file = path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard") if tensorboard else None

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, update: int, record: Mapping[str, float]) -> None:
        """Append the record of roll-out number `update`, counted from 1."""
        self._file.write(json.dumps({"update": update, **record}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in record.items():
                self._board.add_scalar(name, value, update)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def without_clock(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same records less what the clock put in, so that equal runs give equal files."""
    return [{name: value for name, value in row.items() if name not in _CLOCK} for row in rows]


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("TensorBoard is not installed: run `pip install preceptor[tensorboard]`.") from None
    writer: Any = SummaryWriter(str(folder))
    return writer
