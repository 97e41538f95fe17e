"""What a benchmark measures on goes in by name; where it lies on this machine comes out, or one sentence and the end.

Without what it needs a benchmark says so and ends with code 0, so that `make bench` goes on to the next. What was asked
for by a flag and is not there ends with code 1.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"  # beside the repository


def leave(reason: str, *, asked: bool = False) -> NoReturn:
    """End with `reason`: as a skipped benchmark, or as a failed one where a flag asked for what is missing."""
    if asked:
        sys.exit(reason)
    print(f"skipped: {reason}")
    sys.exit(0)


def home_folder(given: Path | None = None) -> Path:
    """The home folder, `given` or the default."""
    return given or Path(os.environ.get("PRECEPTOR_HOME", ".preceptor"))


def data_folder(given: Path | None, *names: str) -> Path:
    """The folder of public data, `given` or the default, which holds each of `names`."""
    folder = given or DATA
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        leave(f"{folder} holds no {' and no '.join(missing)}; name the folder with --data.", asked=given is not None)
    return folder


def newest_artifact(given: Path | None, kind: str, *, flag: str = "--home") -> Path:
    """The artifact of a kind that was published last in the home folder; `flag` is what names another."""
    home = home_folder(given)
    found = list((home / "artifacts" / kind).glob("[0-9a-f]*"))
    if not found:
        leave(f"{home} holds no {kind}; run `make demo` first, or name another with {flag}.", asked=given is not None)
    return max(found, key=lambda path: path.stat().st_mtime)


def require_gpu() -> None:
    """End unless torch sees an NVIDIA GPU."""
    import torch

    if not torch.cuda.is_available():
        leave("torch sees no NVIDIA GPU here.")


def require_trl() -> None:
    """End unless TRL is installed."""
    from importlib.util import find_spec

    if find_spec("trl") is None:
        leave("TRL is not installed; `pip install 'preceptor[trl]'` brings it.")
