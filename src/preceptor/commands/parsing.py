"""Function signatures and configs in, parsed command lines out, by tyro."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, field, make_dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError

from preceptor.stage import first_problem

Actions = Mapping[str, tuple[Callable[..., Any], str]]


def call(function: Callable[..., Any], words: list[str], *, prog: str) -> Any:
    """Parse `words` against the signature of `function` and call it."""
    import tyro

    return tyro.cli(function, args=words, prog=f"preceptor {prog}", config=(tyro.conf.AvoidSubcommands,))


def configure(configs: Sequence[type[BaseModel]], words: list[str], *, prog: str) -> list[Any]:
    """Parse `words` against the fields of all `configs`, which have no name in common; returns one of each.

    A value that a config refuses is told in one sentence and ends the process with 2, as any wrong usage does.
    """
    import tyro

    line = _line(configs)
    parsed = asdict(tyro.cli(line, args=words, prog=f"preceptor {prog}", config=(tyro.conf.AvoidSubcommands,)))
    try:
        return [config(**{name: parsed[name] for name in config.model_fields}) for config in configs]
    except ValidationError as error:
        named, reason = first_problem(error)
        flag = f"--{named.replace('_', '-')}: " if named.partition(".")[0] in parsed else ""
        print(f"preceptor: {flag}{reason}. `preceptor {prog} --help` explains the options.", file=sys.stderr)
        raise SystemExit(2) from None


def _line(configs: Sequence[type[BaseModel]]) -> Any:
    """A dataclass with the fields of all `configs`, which refuses no value of its own; nested configs likewise."""
    import tyro

    fields: list[tuple[str, Any, Any]] = []
    for config in configs:
        for name, info in config.model_fields.items():
            kind: Any = info.annotation
            default = MISSING if info.is_required() else info.get_default()
            if isinstance(default, BaseModel):
                kind = _line([type(default)])
                default = kind(**dict(default))
            described = Annotated[kind, tyro.conf.arg(help=info.description)]
            fields.append((name, described, field(default=default)))
    return make_dataclass("Line", fields, kw_only=True, frozen=True, namespace={"__doc__": configs[-1].__doc__})


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
