"""Command-line words in, one function called, an exit code out: a table of names and no logic."""

from __future__ import annotations

import importlib
import sys

from preceptor import __version__
from preceptor.commands.outcome import exit_code

STAGE_COMMANDS = {
    "collect": ("collect:main", "judgements come in: import FILE, export, status"),
    "curate": ("stages:curate", "remove identifiers, respect consent and review"),
    "prepare": ("stages:prepare", "build a versioned dataset of preference pairs"),
    "reward": ("stages:reward", "train the reward model on a dataset"),
    "policy": ("stages:policy", "improve the policy with PPO"),
    "evaluate": ("stages:evaluate", "judge a candidate against the baseline"),
    "release": ("release:main", "gate, promote, rollback, list, history, sync"),
    "experiment": ("experiment:main", "compare two releases online: start, analyze, end, list"),
    "monitor": ("stages:monitor", "measure what is live and raise alerts"),
}
TOOL_COMMANDS = {
    "demo": ("demo:main", "the whole round on this machine, from nothing"),
    "serve": ("serve:serve", "the web server: API, pages, metrics, gateway"),
    "worker": ("serve:worker", "run queued rounds, each stage in a child process"),
    "round": ("rounds:main", "start, list, show, cancel rounds; retraining status"),
    "cloud": ("cloud:main", "run a stage on SageMaker or Ray, watch it, fetch what it made"),
    "generate": ("batch:generate", "IN.jsonl OUT.jsonl: answers of a model to prompts"),
    "score": ("batch:score", "IN.jsonl OUT.jsonl: scores of a reward model"),
    "scrub": ("batch:scrub", "IN.jsonl OUT.jsonl: identifiers removed from a field"),
    "db": ("db:main", "upgrade, status, rewrap, url of the database"),
    "user": ("user:main", "create, password, token, list accounts"),
}


def _usage() -> str:
    lines = [
        f"preceptor {__version__}: from a clinician's judgement to a released, better agent",
        "",
        "usage: preceptor COMMAND [--help | options]",
        "",
        "the nine stages, in the order of one round:",
        *(f"  {name:<11}{text}" for name, (_, text) in STAGE_COMMANDS.items()),
        "",
        "and around them:",
        *(f"  {name:<11}{text}" for name, (_, text) in TOOL_COMMANDS.items()),
        "",
        "settings are environment variables PRECEPTOR_*; DATABASE_URL names a PostgreSQL of your own.",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, 1 for an error told in one sentence, 2 for wrong usage, 3 for a refused gate."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in {"-h", "--help", "help"}:
        print(_usage())
        return 0
    if words[0] in {"--version", "-V"}:
        print(__version__)
        return 0
    entry = (STAGE_COMMANDS | TOOL_COMMANDS).get(words[0])
    if entry is None:
        print(f"There is no command '{words[0]}'. `preceptor --help` lists them.", file=sys.stderr)
        return 2
    module, function = entry[0].split(":")

    def run() -> None:
        getattr(importlib.import_module(f"preceptor.commands.{module}"), function)(words[1:])

    return exit_code(run, name="preceptor")
