"""Work under way in, a live bar with the time left on a terminal out; plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from preceptor.stage import Progress

_LINE_EVERY_SECONDS = 15.0


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """Yield `progress(done, total, metrics)`; the metrics' numbers are shown beside the bar."""
    if sys.stderr.isatty():
        with _live(label) as report:
            yield report
    else:
        yield _plain(label)


def shown(metrics: dict[str, Any]) -> str:
    """The few numbers that fit beside a bar: names without their TRL group, three digits."""
    pairs = [(name.rsplit("/", 1)[-1], value) for name, value in metrics.items() if isinstance(value, int | float)]
    return "  ".join(f"{name} {value:.3g}" for name, value in pairs[:4])


@contextmanager
def _live(label: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("[bold]{task.description:<10}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, numbers="")

        def report(done: int, total: int, metrics: dict[str, Any]) -> None:
            bar.update(task, completed=done, total=total, numbers=shown(metrics))

        yield report


def _plain(label: str) -> Progress:
    started = time.monotonic()
    last = started - _LINE_EVERY_SECONDS + 2

    def report(done: int, total: int, metrics: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _LINE_EVERY_SECONDS or not done:
            return
        last = now
        left = (now - started) / done * max(total - done, 0)
        print(f"{label}: {done} of {total}, about {left:.0f} s left  {shown(metrics)}", file=sys.stderr, flush=True)

    return report
