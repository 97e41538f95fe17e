"""What the product reads at run time is in the repository, not only on the machine where it was written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {"__pycache__", ".mypy_cache", "preceptor.egg-info"}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_source_file_is_ignored_by_git() -> None:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--others", "--ignored", "--exclude-standard", "-z"]
    listed = subprocess.run([*command, "src", "backend/app"], cwd=ROOT, capture_output=True, text=True, check=True)
    ignored = [path for path in listed.stdout.split("\0") if path and not MADE.intersection(Path(path).parts)]
    assert ignored == []
