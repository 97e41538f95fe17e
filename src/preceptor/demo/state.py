"""What the demo has done so far, kept in one file so that an interrupted demo goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from preceptor.demo.config import DemoConfig
from preceptor.files.atomic import write_atomic

_FREE_TO_CHANGE = {"serve", "fresh", "port"}


class DemoState:
    """The results of the finished steps, by name. A demo of another size starts over."""

    def __init__(self, folder: Path, config: DemoConfig) -> None:
        self.folder = folder
        self._file = folder / "state.json"
        size = config.model_dump(mode="json", exclude=_FREE_TO_CHANGE)
        kept = json.loads(self._file.read_text()) if self._file.exists() and not config.fresh else {}
        if kept.get("size") != size:
            shutil.rmtree(folder, ignore_errors=True)
            kept = {"size": size, "steps": {}}
        self._content = kept
        folder.mkdir(parents=True, exist_ok=True)

    def done(self, step: str) -> bool:
        return step in self._content["steps"]

    def result(self, step: str) -> dict[str, Any]:
        found: dict[str, Any] = self._content["steps"][step]
        return found

    def finish(self, step: str, result: dict[str, Any]) -> None:
        self._content["steps"][step] = result
        write_atomic(self._file, json.dumps(self._content, indent=1))
