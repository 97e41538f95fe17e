"""Ctrl-C ends training where it is safe, and the same command goes on from there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from preceptor.commands.seed import asked_to_stop
from preceptor.errors import RunCanceled
from preceptor.monitor.config import MonitorConfig
from preceptor.runs import run_stage_now
from preceptor.settings import Settings
from preceptor.stage import StageContext, StageResult

Run = Callable[..., Any]


def test_the_second_press_stops_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with asked_to_stop() as asked:
        assert not asked.is_set()
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()
        assert "Ctrl-C again" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_ppo_that_was_interrupted_goes_on_from_where_it_was(
    run: Run, tiny_llama: Path, tiny_reward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    @contextmanager
    def pressing(title: str) -> Iterator[Callable[..., None]]:
        def report(number: int, total: int, metrics: dict[str, Any]) -> None:
            done.append(number)
            if len(done) == 2:
                signal.raise_signal(signal.SIGINT)

        yield report

    monkeypatch.setattr("preceptor.terminal.terminal_progress", pressing)
    output = tmp_path / "policy"
    words = (
        *("train_ppo", "--base-model", tiny_llama, "--reward-model", tiny_reward, "--output", output),
        *("--batch-size", "4", "--max-updates", "4", "--epochs", "4", "--max-new-tokens", "4", "--train-layers", "1"),
    )
    stopped = run(*words)
    assert stopped.code == 130
    assert "PPO was stopped after 2 of 4 roll-outs; run it again to go on." in stopped.err
    assert not output.exists()
    ended = run(*words)
    assert ended.code == 0, ended.err
    assert done == [1, 2, 3, 4]
    assert (output / "model.safetensors").is_file()
    assert not (tmp_path / "policy.training").exists()


def test_a_stage_stops_where_it_is_safe_and_is_recorded_as_canceled(
    engine: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def stage(config: MonitorConfig, context: StageContext) -> StageResult:
        asked.set()
        assert context.is_canceled()
        raise RunCanceled("Monitoring was stopped.")

    monkeypatch.setattr("preceptor.runs.stage_function", lambda *_, **__: stage)
    with pytest.raises(RunCanceled):
        run_stage_now(settings, "monitor", MonitorConfig(), asked_to_stop=asked)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT state FROM runs ORDER BY id DESC LIMIT 1")) == "canceled"
