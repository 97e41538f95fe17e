"""Every command as a function: words in, exit code and what it told out, in the process of the tests."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from preceptor import cli

BACKEND = Path(__file__).parents[2] / "backend" / "app" / "rlhf"


@dataclass(frozen=True)
class Told:
    """How a command ended."""

    code: int
    err: str
    out: str

    @property
    def sentence(self) -> str:
        """The last line on standard error."""
        return self.err.strip().splitlines()[-1]


Run = Callable[..., Told]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("train_ppo", "--epochs", "0")`, or `run("score", ...)` for a command of `preceptor`."""
    for name in ("FEEDBACK_DB", "DATABASE_URL", "PRECEPTOR_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PRECEPTOR_HOME", str(tmp_path / "home"))

    def call(command: str, *words: object) -> Told:
        given = [str(word) for word in words]
        try:
            code = _seed_main(command)(given) if (BACKEND / f"{command}.py").is_file() else cli.main([command, *given])
        except SystemExit as error:  # wrong usage, told by the parser
            code = int(error.code or 0)
        told = capfd.readouterr()
        return Told(code, told.err, told.out)

    return call


def _seed_main(name: str) -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location(f"seed_{name}", BACKEND / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A small file of pairs that every command can read: each row also has a response."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"What helps with complaint {n}?", "chosen": f"See a doctor {n}.", "rejected": f"Nothing {n}."}
        | {"response": f"Rest {n}.", "id": n, "extra": {"ward": [n]}}
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
