"""The command, the server and the queue start without torch; help is quick to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "spacy", "datasets", "sqlalchemy")


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    loaded = _modules_after("from preceptor.cli import main; main(['--help'])")
    assert loaded.isdisjoint({*HEAVY, "fastapi", "tyro", "pydantic"})


@pytest.mark.parametrize("module", ["preceptor.server.app", "preceptor.jobs.worker", "preceptor.pipeline"])
def test_doors_start_without_torch(module: str) -> None:
    assert _modules_after(f"import {module}").isdisjoint({"torch", "transformers", "spacy", "datasets"})
