"""Progress reports in, a live bar on a terminal out; a plain line now and then where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from preceptor.stage import Progress
from preceptor.supervision import time_left_estimator

_SHORT_NAMES = {
    "objective/scores": "score",
    "objective/rlhf_reward": "reward",
    "objective/kl": "KL",
    "accuracy": "accuracy",
    "loss": "loss",
}
_LINE_EVERY = 15.0  # seconds between lines where there is no terminal


def describe_metrics(metrics: Mapping[str, Any], *, most: int = 3) -> str:
    """The few numbers worth watching, such as `score 0.41  KL 1.2`."""
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    known = [name for name in _SHORT_NAMES if name in numbers]
    chosen = (known + [name for name in numbers if name not in _SHORT_NAMES])[:most]
    return "  ".join(f"{_SHORT_NAMES.get(name, name)} {numbers[name]:.4g}" for name in chosen)


def describe_time(seconds: float | None) -> str:
    """`1:05 left`; empty when it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"


@contextmanager
def terminal_progress(title: str, *, console: Console | None = None) -> Iterator[Progress]:
    """Yield a progress function that draws a bar with the metrics and the time left, on standard error."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(title, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with RichProgress(*columns, console=console) as bars:
        task = bars.add_task(title, total=None, numbers="", left="")
        time_left = time_left_estimator()

        def report(done: int, total: int, metrics: dict[str, Any]) -> None:
            left = describe_time(time_left(done, total))
            bars.update(task, completed=done, total=total, numbers=describe_metrics(metrics), left=left)

        yield report


def _plain_lines(title: str, console: Console) -> Progress:
    time_left = time_left_estimator()
    last: float | None = None

    def report(done: int, total: int, metrics: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if last is not None and now - last < _LINE_EVERY and done < total:
            return
        last = now
        parts = (f"{title} {done}/{total}", describe_metrics(metrics), describe_time(time_left(done, total)))
        console.print("  ".join(part for part in parts if part), highlight=False)

    return report
