"""A parser and an action in, a command of the seed document out: flags with - or _, one sentence for each error."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from preceptor.commands.outcome import AGAIN, exit_code


def run_seed_command(
    parser: argparse.ArgumentParser,
    action: Callable[[argparse.Namespace], str],
    arguments: list[str] | None,
    *,
    stopped: str = AGAIN,
) -> int:
    """Parse the command line (or `arguments`), print what `action` says, and return the exit code."""
    given = parser.parse_args([_dashed(word) for word in (sys.argv[1:] if arguments is None else arguments)])

    def act() -> None:
        if said := action(given):
            print(said)

    return exit_code(act, name=parser.prog, stopped=stopped)


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Yield what Ctrl-C sets: work then ends at its next safe point. A second Ctrl-C ends it at once."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        print("\nStopping as soon as what was done so far is safe; Ctrl-C again stops at once.", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def at_least_one(word: str) -> int:
    """The number that a flag's value is, for `add_argument(type=...)`."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _dashed(word: str) -> str:
    """`--base_model` as `--base-model`; values stay as they are."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word
