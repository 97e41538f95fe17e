"""`make bench` runs through: each benchmark starts without arguments, and without what it needs it is skipped."""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
NEEDY = ["alternatives", "gold_judge", "gpu", "policy_proof", "reward_accuracy", "reward_speed", "ties"]


class _Parsed(Exception):
    """A script got as far as its command line."""


@pytest.fixture(autouse=True)
def _nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No demo, no data and no GPU; scripts find each other as they do when Python starts one."""
    import torch

    monkeypatch.setenv("PRECEPTOR_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    import _needs

    monkeypatch.setattr(_needs, "DATA", tmp_path / "data")


def _start(name: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Run a script in this process, so that torch is loaded once for all of them."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_explains_itself_and_needs_no_argument(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        assert "--" in parser.format_help()
        assert [action.dest for action in parser._actions if action.required] == []
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", look)
    with pytest.raises(_Parsed):
        _start(name, monkeypatch)


@pytest.mark.parametrize("name", NEEDY)
def test_a_benchmark_without_what_it_needs_is_skipped_in_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _start(name, monkeypatch)
    assert ended.value.code == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped: ")
    assert line.endswith(".")


@pytest.mark.parametrize(("words", "layers"), [((), [1, 2]), (("--size", "small"), [3, 6]), (("--layers", "3"), [3])])
def test_a_quarter_and_half_of_the_layers_are_trained_unless_others_are_named(
    words: tuple[str, ...], layers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    numbers = dict.fromkeys(("peak_mb", "optimize_gflop", "peak_gflops"), 1.0)
    rows = {"seconds": [1.0, 1.0], "optimize_seconds": [1.0], "steps": [1.0]}
    done = SimpleNamespace(stdout=f"RESULT {json.dumps(numbers | rows)}\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: (started.append(command), done)[1])
    _start("ppo_speed", monkeypatch, *words)
    assert [int(side[side.index("--layers") + 1]) for side in started if "hydra" in side] == layers


@pytest.mark.parametrize("marked_first", [True, False])  # a loop marks where a roll-out begins, or where its passes end
def test_the_clock_of_all_sides_counts_what_lies_between_two_steps(
    marked_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.syspath_prepend(str(FOLDER / "peers"))
    import step_clock

    now = iter(range(100))  # a second from one mark to the next
    monkeypatch.setattr(step_clock.StepClock, "_now", lambda _: float(next(now)))
    clock, layer = step_clock.StepClock("cpu"), torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    optimizer.register_step_post_hook(clock.stepped)
    for _ in range(3):
        if marked_first:
            clock.rolled_out()
        layer(torch.ones(50, 4))  # a roll-out's own products are no pass of the optimizer
        for _ in range(4):
            layer(torch.ones(2, 4)).sum().backward()
            optimizer.step()
        if not marked_first:
            clock.rolled_out()
    found = clock.found()
    forward_and_backward = 2 * (2 * 2 * 4 * 3) / 1e12
    assert found["tflops"] == pytest.approx(forward_and_backward / 1.0)
    assert found["seconds"] == 5.0  # four steps and a mark


def test_what_a_flag_names_and_is_not_there_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="holds no medquad"):
        _start("ties", monkeypatch, "--data", str(tmp_path))
