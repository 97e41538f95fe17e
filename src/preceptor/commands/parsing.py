"""Function signatures in, parsed command lines out, by tyro."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Actions = Mapping[str, tuple[Callable[..., Any], str]]


def call(function: Callable[..., Any], words: list[str], *, prog: str) -> Any:
    """Parse `words` against the signature of `function` and call it."""
    import tyro

    return tyro.cli(function, args=words, prog=f"preceptor {prog}", config=(tyro.conf.AvoidSubcommands,))


def choose(actions: Actions, words: list[str], *, prog: str) -> Any:
    """Call the action named by the first word; print the list of actions when there is none."""
    if not words or words[0] in {"-h", "--help"}:
        print(f"usage: preceptor {prog} ACTION [--help | options]\n")
        for name, (_, text) in actions.items():
            print(f"  {name:<10}{text}")
        return None
    if words[0] not in actions:
        print(f"There is no '{prog} {words[0]}'; choose one of: {', '.join(actions)}.", file=sys.stderr)
        raise SystemExit(2)
    return call(actions[words[0]][0], words[1:], prog=f"{prog} {words[0]}")
