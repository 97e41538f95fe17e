"""`preceptor curate | prepare | reward | policy | evaluate | monitor`: a stage's config as flags, one run executed."""

from __future__ import annotations

import sys

from preceptor.commands.parsing import configure
from preceptor.settings import load_settings
from preceptor.terminal import terminal_progress


def run_stage(stage: str, words: list[str], *, prog: str | None = None) -> None:
    """Parse the stage's config from the command line, run it with a progress bar, print its summary."""
    from preceptor.commands.seed import asked_to_stop
    from preceptor.pipeline import config_class
    from preceptor.runs import run_stage_now

    (config,) = configure([config_class(stage)], words, prog=prog or stage)
    with asked_to_stop() as asked, terminal_progress(stage) as progress:
        result = run_stage_now(load_settings(), stage, config, progress=progress, asked_to_stop=asked)
    print(result.summary)
    if result.artifact_id is not None:
        print(result.artifact_id, file=sys.stdout)


def curate(words: list[str]) -> None:
    run_stage("curate", words)


def prepare(words: list[str]) -> None:
    run_stage("prepare", words)


def reward(words: list[str]) -> None:
    run_stage("reward", words)


def policy(words: list[str]) -> None:
    run_stage("policy", words)


def evaluate(words: list[str]) -> None:
    run_stage("evaluate", words)


def monitor(words: list[str]) -> None:
    run_stage("monitor", words)
