"""A command whose output does not fit ends with one sentence and exit code 1, and what was there stays."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from preceptor import cli

Disk = Callable[[int], AbstractContextManager[None]]


@pytest.mark.parametrize("command", ["generate", "scrub"])
def test_an_output_that_does_not_fit_is_one_sentence(
    command: str,
    tiny_llama: Path,
    tmp_path: Path,
    small_disk: Disk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRECEPTOR_HOME", str(tmp_path / "home"))
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"What helps with complaint {n}?"}) + "\n" for n in range(4)))
    output.write_text("before")
    flags = {"generate": ["--model", str(tiny_llama), "--max-new-tokens", "8"], "scrub": ["--field", "prompt"]}
    with small_disk(60):
        code = cli.main([command, str(source), str(output), *flags[command]])
    told = capsys.readouterr()
    assert code == 1, told.err
    assert f"preceptor: Writing {output} failed: File too large. Free some space" in told.err
    assert "Traceback" not in told.err
    assert output.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} <= {"in.jsonl", "out.jsonl", "home"}


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


def test_other_errors_are_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str]) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr("preceptor.commands.batch.score", fail)
    with pytest.raises(PermissionError):
        cli.main(["score"])
