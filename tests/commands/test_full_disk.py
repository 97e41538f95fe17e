"""A command whose output does not fit ends with one sentence and exit code 1, and what was there stays."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from preceptor import cli

Disk = Callable[[int], AbstractContextManager[None]]


@pytest.mark.parametrize("command", ["generate", "score", "scrub"])
def test_an_output_that_does_not_fit_is_one_sentence(
    command: str,
    tiny_llama: Path,
    tiny_reward: Path,
    tmp_path: Path,
    small_disk: Disk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRECEPTOR_HOME", str(tmp_path / "home"))
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"prompt": f"What helps with complaint {n}?", "response": "Rest."} for n in range(4)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output.write_text("before")
    flags = {"generate": ["--model", str(tiny_llama), "--max-new-tokens", "8"], "scrub": ["--field", "prompt"]}
    flags["score"] = ["--reward-model", str(tiny_reward)]
    with small_disk(60):
        code = cli.main([command, str(source), str(output), *flags[command]])
    told = capsys.readouterr()
    assert code == 1, told.err
    assert f"preceptor: Writing {output} failed: File too large. Free some space" in told.err
    assert "Traceback" not in told.err
    assert output.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} <= {"in.jsonl", "out.jsonl", "home"}


@pytest.mark.parametrize("command", ["prepare_dataset", "train_reward_model", "train_ppo"])
def test_a_seed_command_whose_output_does_not_fit_publishes_nothing(
    command: str,
    run: Callable[..., Any],
    pairs: Path,
    tiny_llama: Path,
    tiny_reward: Path,
    tmp_path: Path,
    small_disk: Disk,
) -> None:
    output = tmp_path / "out"
    words: dict[str, tuple[object, ...]] = {
        "prepare_dataset": ("--feedback-file", pairs),
        "train_reward_model": ("--dataset", pairs, "--base-model", tiny_reward, "--mode", "full", "--epochs", "1"),
        "train_ppo": (
            *("--base-model", tiny_llama, "--reward-model", tiny_reward, "--max-new-tokens", "4"),
            *("--max-updates", "1", "--batch-size", "8", "--train-layers", "1"),
        ),
    }
    with small_disk(1500 if command == "prepare_dataset" else 30_000):
        told = run(command, *words[command], "--output", output)
    assert told.code == 1, told.err
    assert "failed: File too large. Free some space" in told.sentence
    assert "Traceback" not in told.err
    assert not output.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"pairs.jsonl", "home", "out.training"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        sa.exc.OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")),
    ],
    ids=["a file", "the database"],
)
def test_a_disk_that_fills_elsewhere_is_one_sentence_too(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> None:
        raise error

    monkeypatch.setattr("preceptor.commands.batch.score", fail)
    assert cli.main(["score"]) == 1
    assert capsys.readouterr().err == ("preceptor: the disk is full. Free some space and run the same command again.\n")


def test_a_place_that_the_system_refuses_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/locked/models")

    monkeypatch.setattr("preceptor.commands.batch.score", fail)
    assert cli.main(["score"]) == 1
    assert capsys.readouterr().err.startswith("preceptor: /locked/models: Permission denied. ")


def test_an_error_of_the_program_itself_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr("preceptor.commands.batch.score", fail)
    with pytest.raises(KeyError):
        cli.main(["score"])
